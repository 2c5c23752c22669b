"""Play-by-play as it comes: clocks, layouts, plays that are not there; tracking logs with damaged bytes, odd events
and contradictions. A frame before a real shot is never an example of no shot."""
import datetime, gzip, json, warnings
import numpy as np, pandas as pd, pytest
import mrtl.basketball.shots, mrtl.basketball.tracking, mrtl.basketball.known
from mrtl.basketball.games import planted_league, plays_v3, simulate_games
from mrtl.basketball.plays import read_play_by_play, seconds_left
from mrtl.basketball.shots import learning_table
from mrtl.basketball.tracking import moment_arrays, read_games, read_sportvu, read_tracking, tiny_game
from mrtl.basketball.known import said_of_plays
from mrtl.core import DataError, FormatError, MRTLError

@pytest.fixture(scope='module')
def season(tmp_path_factory):
    "Two games of two quarters: frames, plays as a table of text, and the learning table."
    files,events = simulate_games(tmp_path_factory.mktemp('s'), planted_league(seed=1), games=2, quarters=2, seed=3)
    plays = pd.read_csv(events, dtype=str); frames = read_games(files)[0]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return frames,plays,learning_table(frames, read_play_by_play(plays)[0]).table

def seconds(plays): t = plays.PCTIMESTRING.str.split(':', expand=True).astype(int); return 60*t[0]+t[1]
def same(a, b): pd.testing.assert_frame_equal(a, b, check_dtype=False)

# ---- clocks

def under_a_minute(write): return lambda s: [write(v) if v < 60 else '%d:%02d' % divmod(v, 60) for v in s]
CLOCKS = {'tenths in the last minute (nbastatR#58)': under_a_minute('00:{:04.1f}'.format),
          'tenths without minutes': under_a_minute(':{:04.1f}'.format), 'plain tenths': under_a_minute('{:.1f}'.format),
    'tenths with a comma': under_a_minute(lambda v: f'00:{v:04.1f}'.replace('.', ',')),
    'ISO (PlayByPlayV3)': lambda s: ['PT%02dM%05.2fS' % divmod(v, 60) for v in s],
    'ISO without zeros': lambda s: ['PT%dM%dS' % divmod(v, 60) for v in s],
    'ISO without minutes': lambda s: [f'PT{v:.1f}S' if v < 60 else 'PT%dM%dS' % divmod(v, 60) for v in s],
    'ISO in small letters': lambda s: ['pt%02dm%02ds' % divmod(v, 60) for v in s],
    'zeros before minutes': lambda s: ['%02d:%02d' % divmod(v, 60) for v in s],
    'tenths everywhere': lambda s: ['%d:%04.1f' % divmod(v, 60) for v in s],
    'spaces around': lambda s: ['  %d:%02d ' % divmod(v, 60) for v in s]}

@pytest.mark.parametrize('how', CLOCKS)
def test_clocks_are_read(season, how):
    frames,plays,table = season; p,left = read_play_by_play(plays.assign(PCTIMESTRING=CLOCKS[how](seconds(plays))))
    assert left['time unreadable'] == 0; same(learning_table(frames, p).table, table)

def test_tenths_are_tenths():
    assert seconds_left(pd.Series(['0:51.6', ':04.25', 'PT00M51.60S', '12:00', 'PT12M00.00S', '0:00.0',
                                   '00:59,9'])).tolist() == [51.6, 4.25, 51.6, 720, 720, 0, 59.9]

NO_CLOCKS = {'seconds since the tip-off (nba_data#3)': (lambda s,q: (720*(q-1)+720-s).astype(str), 'tip-off'),
             'seconds left': (lambda s,q: s.astype(str), 'seconds left'),
             'seconds with a point': (lambda s,q: s.map('{:.1f}'.format), 'tip-off'),
    'spreadsheet 11:35:00': (lambda s,q: ['%d:%02d:00' % divmod(v, 60) for v in s], 'spreadsheet'),
    'spreadsheet 00:11:35': (lambda s,q: ['00:%02d:%02d' % divmod(v, 60) for v in s], 'spreadsheet'),
    'time since the start of the quarter': (lambda s,q: ['%d:%02d' % divmod(720-v, 60) for v in s], 'runs up'),
    'times of day': (lambda s,q: [datetime.time(v//60, v%60) for v in s], 'spreadsheet'),
    'durations': (lambda s,q: [str(pd.Timedelta(seconds=v)) for v in s], 'no time'),
    'nothing': (lambda s,q: np.nan, 'no time'),
    'the header again (basketball_reference_web_scraper#229)': (lambda s,q: 'Time', "'Time'"),
    'words before': (lambda s,q: ['Q1 %d:%02d' % divmod(v, 60) for v in s], "'Q1 "),
    'wall clock': (lambda s,q: ['7:%02d PM' % (v%60) for v in s], 'PM')}

@pytest.mark.parametrize('how', NO_CLOCKS)
def test_what_is_no_clock_is_refused_by_its_column(season, how):
    _,plays,_ = season; change,says = NO_CLOCKS[how]
    with pytest.raises(FormatError, match='PCTIMESTRING') as e:
        read_play_by_play(plays.assign(PCTIMESTRING=change(seconds(plays), plays.PERIOD.astype(int))))
    assert says in str(e.value) and 'minutes and seconds left' in str(e.value)

# ---- plays that are not there

def shot(plays, i=40): return plays.index[plays.EVENTMSGTYPE.isin(['1', '2'])][i]
def put(column, value, n=1, start=40):
    def change(p):
        p = p.astype(object); p.loc[p.index[p.EVENTMSGTYPE.isin(['1', '2'])][start:start+n], column] = value; return p
    return change
def without(cond): return lambda p: p[~cond(p)]
first = lambda p: (p.GAME_ID == '1') & (p.PERIOD == '1')
shuffled = lambda p: p.sample(frac=1, random_state=0)
LOST = {'a quarter without plays': without(first),
        'a log that ends early': without(lambda p: first(p) & (seconds(p) < 300)),
        'ends early, but the end is there': without(lambda p: first(p) & (seconds(p) < 300) & (p.EVENTMSGTYPE != '13')),
    'a log that begins late': without(lambda p: first(p) & (seconds(p) > 600)),
    'begins late, but the start is there': without(lambda p: first(p) & (seconds(p) > 600)
        & (p.EVENTMSGTYPE != '12')), 'a hole of a minute': without(lambda p: first(p) & seconds(p).between(300, 360)),
    'a clock that cannot be': put('PCTIMESTRING', '3:75'), 'no clock': put('PCTIMESTRING', None),
    'five clocks in a row': put('PCTIMESTRING', 'x', 5), 'the first clock of the game': put('PCTIMESTRING', '', 1,
        0), 'a clock in a shuffled log': lambda p: shuffled(put('PCTIMESTRING', 'x')(p)),
    'clocks of the last minute': lambda p: p.assign(PCTIMESTRING=np.where(first(p) & (seconds(p) < 60), '00:51:60',
        p.PCTIMESTRING)), 'shooter 0': put('PLAYER1_ID', '0'), 'shooter blank': put('PLAYER1_ID', None),
    'shooter a word': put('PLAYER1_ID', 'x'), 'team blank': put('PLAYER1_TEAM_ID', None),
    'ten shots without a shooter': put('PLAYER1_ID', '0', 10),
    'a shooter who is not in the tracking': put('PLAYER1_ID', '999'), 'kind blank': put('EVENTMSGTYPE', None),
    'kind a word': put('EVENTMSGTYPE', 'shot'), 'quarter blank': put('PERIOD', None),
    'quarter 99': put('PERIOD', '99'), 'quarter 1.5': put('PERIOD', '1.5'),
    'game of another digit': put('GAME_ID', '0080000001'), 'minutes lost': put('PCTIMESTRING', ':19'),
    'game blank': put('GAME_ID', None), 'game a word': put('GAME_ID', 'final'),
    'neither clock nor quarter': lambda p: put('PERIOD', '')(put('PCTIMESTRING', '')(p)),
    'clocks five seconds early': lambda p: p.assign(PCTIMESTRING=['%d:%02d' % divmod(min(v+9, 720),
        60) for v in seconds(p)])}

def wronged(season, change):
    "Frames of real shots that became examples of none, rows that the whole log does not give, and what was said."
    frames,plays,table = season; key = ['game', 'quarter', 'clock', 'player']
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        try: L = learning_table(frames, read_play_by_play(change(plays))[0])
        except MRTLError as e: return 0,str(e)
    both = table.merge(L.table, on=key, suffixes=('', '_now'))
    assert len(L.table) == L.report.frames.iloc[-1]
    return int((both.y_true > both.y_true_now).sum()+len(L.table)-len(both)),'; '.join(str(x.message) for x in w)

@pytest.mark.parametrize('what', LOST)
def test_absent_plays_are_not_negatives(season, what):
    n,said = wronged(season, LOST[what])
    assert n == 0 and ('vouch' in said), said

def test_what_is_left_out_is_a_share_of_the_game(season):
    frames,plays,table = season; lost = lambda w: learning_table(frames, read_play_by_play(LOST[w](plays))[0])
    with pytest.warns(UserWarning, match='game 0000000001 is left out.*no plays around'):
        L = lost('a quarter without plays')
    assert set(L.table.game) == {'0000000002'} and L.doubts.refused.all() and .4 < L.doubts.share.iloc[0] < .6
    with pytest.warns(UserWarning, match='rows of 1 games'): L = lost('a hole of a minute')
    assert (not L.doubts.refused.any() and 0 < L.doubts.share.iloc[0] < .1
            and len(L.table) > .95*len(table)-L.doubts.rows.sum())
    one = frames.isel(frame=frames.game_index.values == 0)
    with pytest.raises(DataError, match='game 0000000001 is left out'):
        learning_table(one, read_play_by_play(LOST['a quarter without plays'](plays))[0])

@pytest.mark.parametrize('name', ['silent', 'span_of'])
def test_broken_rules_are_caught(season, monkeypatch, name):
    monkeypatch.setattr(mrtl.basketball.known, name, lambda tape, *a, **k: np.zeros(len(tape.time), bool)); bad = 0
    for what in ('a hole of a minute', 'ten shots without a shooter', 'five clocks in a row'):
        bad += wronged(season, LOST[what])[0]
    assert bad > 0

def test_a_v3_row_that_lost_a_comma_is_in_doubt(season):
    t = plays_v3(typed(season[1])).astype(object); i = t.index[t.shotResult.notna()][40]
    for c,v in dict(playerName='Player 109Made', shotResult='1', isFieldGoal='Made Shot', actionType=None).items():
        t.loc[i, c] = v
    assert read_play_by_play(t).plays.doubt[i] == 'kind unreadable'

def test_many_games_are_said_shortly():
    out = pd.DataFrame(dict(game=[f'{i:010d}' for i in range(30)], reason='no plays around', rows=100,
                            share=.5, refused=True))
    assert len(said_of_plays(out)) == 6 and said_of_plays(out[:0]) == []

# ---- layouts

def live(p):
    t = plays_v3(p); made = t.shotResult
    t['actionType'] = np.where(made.notna(), np.where(t.index%5 == 0, '3pt', '2pt'),
                               t.actionType.str.lower().str.replace(' ', ''))
    return t
def with_steals(p):
    t = plays_v3(p)
    s = t[t.actionType == 'Missed Shot'].assign(actionType='', isFieldGoal=0, shotResult=None)
    return pd.concat([t, s]).sort_index(kind='stable')
def typed(p):
    return p.assign(**{c: pd.to_numeric(p[c])
                       for c in ('GAME_ID', 'EVENTMSGTYPE', 'PERIOD', 'PLAYER1_ID', 'PLAYER1_TEAM_ID')})
def numbered(p): return p.assign(EVENTNUM=np.arange(len(p)).astype(str))
V3 = lambda p: plays_v3(typed(p)); snake = lambda c: ''.join('_'+x.lower() if x.isupper() else x for x in c)
TABLES = {'v2': lambda p: p, 'v2, numbers': typed,
          'v2, ids with zeros': lambda p: p.assign(GAME_ID=p.GAME_ID.str.zfill(10)),
          'v2, ids as floats': lambda p: p.assign(GAME_ID=p.GAME_ID.astype(float)),
          'v2, small letters': lambda p: p.rename(columns=str.lower),
          'v2, without start and end': without(lambda p: p.EVENTMSGTYPE.isin(['12', '13'])),
          'v2, out of order': shuffled,
    'v2, newest first with numbers': lambda p: numbered(p)[::-1],
    'v2, rows twice': lambda p: pd.concat([p, p[5:50]]),
    'v2, numbers twice': lambda p: pd.concat([numbered(p), numbered(p)[4:5].assign(PLAYER1_NAME='other')]),
    'v2, another game': lambda p: pd.concat([p, p.assign(GAME_ID='77')]),
    'v2, more columns': lambda p: p.assign(WCTIMESTRING='7:10 PM', SCORE='0 - 2'), 'v3': V3,
    'v3, game id as number': lambda p: V3(p).astype(dict(gameId=int)),
    'v3, snake case (hoopR)': lambda p: V3(p).rename(columns=snake),
    'v3, capitals': lambda p: V3(p).rename(columns=str.upper), 'v3, columns backwards': lambda p: V3(p).iloc[:,::-1],
    'v3, steals without a type (nba_api#603)': lambda p: with_steals(typed(p)),
    'v3, without shotResult': lambda p: V3(p).drop(columns=['shotResult', 'isFieldGoal']),
    'live': lambda p: live(typed(p)),
    'v3, heaves': lambda p: V3(p).assign(actionType=lambda t: t.actionType.mask(t.actionType.eq('Missed Shot')
        & (t.index%7 == 0), 'Heave'))}

@pytest.mark.parametrize('how', TABLES)
def test_layouts(season, how):
    frames,plays,table = season
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        same(learning_table(frames, read_play_by_play(TABLES[how](plays))[0]).table.drop(columns='shot'),
             table.drop(columns='shot'))

def text(p, **kw): return p.to_csv(index=False, **kw).encode()
FILES = {'plain': text, 'BOM (Excel)': lambda p: b'\xef\xbb\xbf'+text(p), 'semicolons': lambda p: text(p, sep=';'),
         'tabs': lambda p: text(p, sep='\t'), 'gzip': lambda p: gzip.compress(text(p)),
         'UTF-16 (Excel, Unicode text)': lambda p: text(p, sep='\t').decode().encode('utf-16'),
         'latin-1 names': lambda p: text(p.assign(PLAYER1_NAME='José')).decode().encode('latin-1'),
    'Windows line ends': lambda p: text(p, lineterminator='\r\n'),
    'everything in quotes': lambda p: text(p, quoting=1), 'spaces after commas': lambda p: text(p).replace(b',',
        b', '), 'row numbers': lambda p: p.to_csv().encode(), 'blank lines at the end': lambda p: text(p)+b'\n\n\n'}

@pytest.mark.parametrize('layout', ['v2', 'v3'])
@pytest.mark.parametrize('how', FILES)
def test_files(season, tmp_path, how, layout):
    _,plays,_ = season
    p = plays if layout == 'v2' else V3(plays)
    p = p if how != 'latin-1 names' or layout == 'v2' else p.assign(PLAYER1_NAME=p.playerName)
    for name in ('p.csv', 'p.csv.gz'):
        (tmp_path/name).write_bytes(FILES[how](p))
        a = read_play_by_play(tmp_path/name).plays
        same(a.drop(columns=['name', 'action']), read_play_by_play(p).plays.drop(columns=['name', 'action']))

BAD = {'nothing': (b'', 'cannot be read as CSV'), 'not text': (b'\x89PNG\0\1'*9, 'zero bytes'),
       'half a gzip': (gzip.compress(b'GAME_ID,PERIOD\n'*99)[:-20], 'cannot be read'),
       'a row too long': (b'GAME_ID,PERIOD\n1,2\n1,2,3\n', 'line 3'),
       'rows longer than the header': (b'GAME_ID,PERIOD\n1,2,3\n1,2,3\n', 'header'),
       'other columns': (b'a,b\n1,2\n', 'no column GAME_ID'),
    'two columns of one meaning': (b'GAME_ID,game_id,PERIOD\n1,1,1\n', 'two columns'),
    'an open quote': (b'GAME_ID,PERIOD\n1,"2\n1,2\n', 'cannot be read'),
    'a page': (b'<!DOCTYPE html>\n<html><head>\n', 'no column')}

@pytest.mark.parametrize('what', BAD)
def test_tables_that_are_none(tmp_path, what):
    (tmp_path/'p.csv').write_bytes(BAD[what][0])
    with pytest.raises(FormatError, match=BAD[what][1]): read_play_by_play(tmp_path/'p.csv')

def test_a_bomb_of_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(mrtl.basketball.plays, 'LARGEST_TABLE', 10**5)
    (tmp_path/'p.csv.gz').write_bytes(gzip.compress(b'1,'*10**6))
    with pytest.raises(FormatError, match='MB of text'): read_play_by_play(tmp_path/'p.csv.gz')

# ---- one game, two logs

def long_game(n=12, shift=.3):
    g = tiny_game(); e = g['events'][0]; m = e['moments']
    later = lambda k: [[q, t, c-7*k, s, None, [[*r[:2], r[2]+shift*k, *r[3:]] for r in rows]] for q,t,c,s,_,rows in m]
    g['events'] = [dict(e, eventId=str(k+1), moments=later(k)) for k in range(n)]; return g
def write(path, game): path.write_text(game if isinstance(game, str) else json.dumps(game)); return path
def swapped(game, events=slice(None)):
    g = json.loads(json.dumps(game))
    for e in g['events'][events]: e['home'],e['visitor'] = e['visitor'],e['home']
    return g
def other_team(game):
    return json.loads(json.dumps(game).replace('"teamid": 11', '"teamid": 12').replace('[11, ', '[12, '))

CONTRADICTIONS = {'home and visitor swapped': (swapped(long_game()), 'two logs have the game id'),
                  'another visitor': (other_team(long_game()), 'two logs have the game id'),
                  'half of the events swapped': (swapped(long_game(), slice(6, None)), 'contradicts itself')}
@pytest.mark.parametrize('what', CONTRADICTIONS)
@pytest.mark.parametrize('order', [1, -1])
def test_logs_that_contradict_each_other(tmp_path, what, order):
    files = [write(tmp_path/'a.json', long_game()), write(tmp_path/'b.json', CONTRADICTIONS[what][0])][::order]
    with pytest.raises(DataError, match=CONTRADICTIONS[what][1]): read_games(files)

def test_logs_that_agree_are_said(tmp_path):
    a,b = write(tmp_path/'a.json', long_game()),write(tmp_path/'b.json', long_game())
    (tmp_path/'c.json.gz').write_bytes(gzip.compress(a.read_bytes()))
    one = read_games([a])[0]
    for files in ([a, a], [a, b], [a, tmp_path/'c.json.gz']):
        frames,faults = read_games(files)
        assert (faults['logs of a game read before'] == 1 and frames.sizes['game'] == 1
                and frames.sizes['frame'] == 2*one.sizes['frame'])
    frames,faults = read_games([write(tmp_path/'d.json', swapped(long_game(), slice(3, 4)))])
    assert faults['events of other teams'] == 1 and frames.sizes['frame'] == one.sizes['frame']-12

def test_a_table_with_one_id_for_two_games(tmp_path):
    a,b = long_game(),long_game(); b['gameid'] = '8'
    frames = read_games([write(tmp_path/'a.json', a), write(tmp_path/'b.json', b)])[0]
    for change,says in ((dict(game_id=('game', ['7', '7'])), 'stands for 2 games'),
                        (dict(game_index=frames.game_index+1), 'game_index goes from 1 to 2'),
                        (dict(game_clock=frames.game_clock+999), 'game_clock goes'),
                        (dict(ball=('frame', np.zeros(frames.sizes['frame']))), 'dimensions')):
        frames.assign(change).to_netcdf(tmp_path/'f.nc')
        with pytest.raises((DataError, FormatError), match=says): read_tracking(tmp_path/'f.nc')

# ---- damaged bytes

TEXT = json.dumps(long_game()); EVENT = TEXT.index('{"eventId": "6"'); MOMENTS = TEXT.index('"moments"', EVENT)
DAMAGE = {'a letter for a bracket': (MOMENTS+11, 'x'), 'a bracket for a digit': (TEXT.index(', 0, ', MOMENTS)+2,
        '['), 'a closing brace too soon': (MOMENTS+40, '}'), 'a closing bracket too soon': (MOMENTS+40, ']'),
          'a quote in the moments': (MOMENTS+60, '"'), 'no quote after a key': (MOMENTS+8, ' '),
          'a zero byte': (MOMENTS+50, '\0'),
    'the brace of the event': (EVENT, 'x'), 'the key of the event': (EVENT+3, '#'), 'no bytes': (MOMENTS+30, ''),
    'a line end in a key': (EVENT+20, '\n'), 'a backslash': (EVENT+14, '\\'),
    'a comma for a point': (TEXT.index('.', MOMENTS+30), ','), 'the comma between events': (EVENT-2, 'x'),
    'a thousand brackets': (MOMENTS+40, '['*3000), 'the last event': (len(TEXT)-9, 'x'),
    'the first event': (TEXT.index('"moments"')+12, '}')}

@pytest.mark.parametrize('what', DAMAGE)
def test_a_damaged_byte_costs_an_event(tmp_path, what):
    at,byte = DAMAGE[what]
    whole = read_sportvu(write(tmp_path/'a.json', TEXT))[0]
    frames,faults = read_sportvu(write(tmp_path/'b.json', TEXT[:at]+byte+TEXT[at+1:]))
    lost = whole.sizes['frame']-frames.sizes['frame']; said = sum(v for k,v in faults.items() if k != 'moments read')
    assert 0 <= lost <= 24 and said > 0 or lost == 0                                # 24: the border between two events
    assert set(frames.game_clock.values) <= set(whole.game_clock.values)|set(np.round(frames.game_clock.values,
            3)) and (lost == 0 or faults['events damaged']+faults['files cut']
                     +faults.get('events without teams or numbers', 0) > 0 or said >= lost)

def test_a_packed_log_that_is_damaged_is_refused(tmp_path):
    raw = bytearray(gzip.compress(TEXT.encode())); raw[len(raw)//2] ^= 255; (tmp_path/'a.json.gz').write_bytes(raw)
    with pytest.raises(FormatError, match='damaged'): read_sportvu(tmp_path/'a.json.gz')

def test_a_bomb_of_a_log(tmp_path, monkeypatch):
    monkeypatch.setattr(mrtl.basketball.tracking, 'LARGEST', 10**6)
    (tmp_path/'a.json.gz').write_bytes(gzip.compress(TEXT.encode()+b' '*10**7))
    with pytest.raises(FormatError, match='GiB of text'): read_sportvu(tmp_path/'a.json.gz')

def test_an_event_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(mrtl.basketball.tracking, 'LONGEST', 10**5)
    text = TEXT[:MOMENTS+11]+'7,'*10**6+TEXT[MOMENTS+11:]
    frames,faults = read_sportvu(write(tmp_path/'a.json', text))
    assert faults['events damaged'] == 1 and frames.sizes['frame'] == 11*12

# ---- odd events

def odd(change):
    def f():
        g = json.loads(json.dumps(long_game())); change(g['events'][2]); return g
    return f
def cell(i, v): return odd(lambda e: e['moments'][3].__setitem__(i, v))
def spot(j, i, v): return odd(lambda e: e['moments'][3][5][j].__setitem__(i, v))
ODD = {'eventId Infinity': (odd(lambda e: e.update(eventId=float('inf'))), 0),
       'eventId a list': (odd(lambda e: e.update(eventId=[1])), 0),
       'eventId of 400 digits': (odd(lambda e: e.update(eventId=10**400)), 0),
       'teamid [10]': (odd(lambda e: e['home'].update(teamid=[10])), 12),
       'teamid Infinity': (odd(lambda e: e['home'].update(teamid=float('inf'))), 12),
    'teamid as text': (odd(lambda e: e['home'].update(teamid='10')), 0),
    'home a list': (odd(lambda e: e.update(home=[])), 12), 'no visitor': (odd(lambda e: e.pop('visitor')), 12),
    'one team twice': (odd(lambda e: e['visitor'].update(teamid=10)), 12),
    'a million players': (odd(lambda e: e['home'].update(players=[0]*10**6)), 12),
    'moments a dict': (odd(lambda e: e.update(moments={'0': 1})), 12),
    'a moment of text': (odd(lambda e: e['moments'].__setitem__(3, 'x')), 1), 'quarter 99': (cell(0, 99), 1),
    'quarter 1.5': (cell(0, 1.5), 1), 'quarter 0': (cell(0, 0), 1), 'clock 1e300': (cell(2, 1e300), 1),
    'clock of 400 digits': (cell(2, 10**400), 1), 'clock -1': (cell(2, -1), 1),
    'clock as text': (cell(2, '684.5'), 0), 'clock a list': (cell(2, [1, 2]), 1),
    'shot clock a list': (cell(3, [1]), 0), 'shot clock 1e9': (cell(3, 1e9), 0),
    'x NaN': (spot(3, 2, float('nan')), 1), 'x 1e300': (spot(3, 2, 1e300), 1), 'x a list': (spot(3, 2, [1.]), 1),
    'x as text': (spot(3, 2, '25.5'), 0), 'ball at 900 ft': (spot(0, 4, 900.), 1),
    'player NaN': (spot(3, 1, None), 1), 'player 1e30': (spot(3, 1, 1e30), 1), 'player 1.5': (spot(3, 1, 1.5), 1),
    'all x lists of two': (odd(lambda e: [m[5].__setitem__(slice(None), [[*r[:2], [1, 2], *r[3:]] for r in m[5]])
                                          for m in e['moments']]), 12), 'a million rows': (cell(5,
        [[-1, -1, 1, 1, 1]]*10**5), 1), 'true for a number': (spot(3, 2, True), 0)}

@pytest.mark.parametrize('what', ODD)
def test_odd_events_are_left_out_and_counted(tmp_path, what):
    make,lost = ODD[what]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        frames,faults = read_sportvu(write(tmp_path/'a.json', make()))
    assert frames.sizes['frame'] == 144-lost and (sum(v
            for k,v in faults.items() if k != 'moments read') > 0) == (lost > 0)

@pytest.mark.parametrize('text,says', [('{"gameid": "1", "events": ['+'['*3000, 'no complete moment'),
                                       ('{"gameid": "1", "events": ['+'{"a":'*3000, 'no complete moment'),
                                       ('{"gameid": "12345678901", "events": []}', 'no gameid'),
                                       ('{"gameid": "7", "events": [', 'no complete moment'),
                                       ('{"gameid": "7", "events": [7, null, "x"]}', 'no complete moment')])
def test_logs_of_nothing(tmp_path, text, says):
    with pytest.raises((DataError, FormatError), match=says): read_sportvu(write(tmp_path/'a.json', text))
