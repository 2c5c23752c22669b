"""Tracking logs to the learning table: bad logs, geometry against an oracle, whole games in both directions and at
both rates, and the real 400 games."""
import dataclasses, gzip, json
import numpy as np, pandas as pd, pytest, torch
import mrtl.basketball.handler, mrtl.basketball.rivals, mrtl.basketball.shots
from mrtl.basketball.plays import read_play_by_play
from mrtl.basketball.tracking import check_frames, read_games, read_sportvu, read_tracking, tiny_game, unpacked
from mrtl.basketball.handler import ShotRules, find_hands, relative, tape_of, turn
from mrtl.basketball.shots import align_goals, known_players, learning_table, rim_height, shot_design, split_table
from mrtl.basketball.rivals import BANDS, INPUTS, additive_columns, player_rates, shot_rivals, tree_columns
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.nodes import Nodes

# ---- a game by hand: five possessions of 20 frames, one shot each, on either rim by turns

SPOTS = np.array([(25., 26.), (30., 10.), (30., 40.), (20., 5.), (20., 45.), (20., 23.), (28., 12.), (28., 38.),
                  (15., 10.), (15., 40.)])
BALL = [(25., 25., 4.)]*6+[(18., 25., 14.), (10., 25., 15.), (5.5, 25., 9.8)]+[(6., 25., 2.)]*3
TEAM = {10: range(1, 6), 11: range(6, 11)}

def moment(quarter, clock, ball, spots, home_attacks):
    ids = list(range(1, 11)) if home_attacks else list(range(6, 11))+list(range(1, 6))
    return [quarter, 0, clock, 20., None, [[-1, -1, *map(float, ball)]]+[[10+(i > 5), i, *map(float, s), 0.]
            for i,s in zip(ids, spots)]]

def shots(quarter=1, rate=.5, flip=lambda xy: xy):
    "Moments and plays: the home team shoots left (right after half-time), then the visitors on the other rim."
    moments,plays = [],[]
    for k in range(4):
        home = k%2 == 0; left = home == (quarter <= 2); start = 700-40*k
        when = np.arange(0, 5.51, rate)
        path = np.array([[np.interp(t, np.arange(12)*.5, [b[d] for b in BALL]) for d in range(3)] for t in when])
        drift = np.array([np.full(10, .02*i) for i in range(len(when))])
        for i,(t,b) in enumerate(zip(when, path)):
            spots = SPOTS+np.column_stack([drift[i], drift[i]]); xy = flip(np.vstack([b[None, :2], spots]))
            if not left: xy = [94., 50.]-xy
            moments.append(moment(quarter, round(start-t, 3), (*xy[0], b[2]), xy[1:], home))
        plays.append(dict(GAME_ID=7, PERIOD=quarter, PCTIMESTRING='%d:%02d'%divmod(start-5, 60),
                          EVENTMSGTYPE=1+k//2, PLAYER1_ID=1 if home else 6, PLAYER1_TEAM_ID=10 if home else 11))
    return moments,plays

def log(moments, per_event=12, overlap=0):
    side = lambda t: dict(teamid=t, players=[dict(playerid=i) for i in TEAM[t]])
    cut = [moments[max(0, i-overlap):i+per_event] for i in range(0, len(moments), per_event)]
    return dict(gameid='0000000007', gamedate='2000-01-01',
                events=[dict(eventId=str(i+1), home=side(10), visitor=side(11), moments=m) for i,m in enumerate(cut)])

@pytest.fixture
def write(tmp_path):
    def f(game, name='g.json'):
        text = game if isinstance(game, str) else json.dumps(game)
        if name.endswith('.gz'): (tmp_path/name).write_bytes(gzip.compress(text.encode()))
        else: (tmp_path/name).write_text(text)
        return tmp_path/name
    return f

@pytest.fixture
def table(write):
    def f(moments, plays, **kw):
        return learning_table(read_sportvu(write(log(moments)))[0], read_play_by_play(pd.DataFrame(plays))[0], **kw)
    return f

XY = ['x', 'y', 'right1', 'ahead1', 'y_true']

def test_every_shot_is_found(table):
    got = table(*shots())
    assert got.goals.outcome.tolist() == ['aligned']*4 and got.table.y_true.tolist() == [0, 0, 0, 0, 1, 1]*4
    np.testing.assert_allclose(got.goals.release, [697.5, 657.5, 617.5, 577.5])
    assert got.table.player.tolist() == ([1]*6+[6]*6)*2
    np.testing.assert_allclose(got.table[XY].values.reshape(4, 6, 5)-got.table[XY].values[:6], 0, atol=1e-9)

@pytest.mark.parametrize('quarter', [2, 3, 5])
def test_ends_change_at_half_time_and_stay_for_overtime(table, quarter):
    one,other = shots(),shots(quarter)
    both = table(one[0]+other[0], one[1]+other[1]).table
    np.testing.assert_allclose(both[XY][both.quarter == quarter], both[XY][both.quarter == 1], atol=1e-9)

def test_25_hz_follows_the_same_rules(table):
    fine,coarse = table(*shots(rate=.04)),table(*shots())
    assert (fine.goals.outcome == 'aligned').all()
    last = fine.table.groupby('shot').clock.agg(['max', 'min']).loc[0:]
    assert ((last['max']-last['min']) < 1).all() and ((last['max']-last['min']) > .8).all()
    assert 10 < len(fine.table)/len(coarse.table) < 15

# ---- geometry

def cells(point, defender):
    "By complex numbers: divide by the direction to the rim."
    rim = 5.25+25j; p,d = complex(*point),complex(*defender); q = (d-p)/((rim-p)/abs(rim-p))
    return -q.imag,q.real

def test_relative_against_complex_numbers():
    rng = np.random.default_rng(0); p = rng.uniform([0, 0], [40, 50], (200, 2)); d = p+rng.uniform(-10, 10, (200, 2))
    got = relative(p, d[:, None]); want = np.array([cells(a, b) for a,b in zip(p, d)])
    np.testing.assert_allclose(np.column_stack([got[0][:, 0], got[1][:, 0]]), want, atol=1e-9)

def test_a_right_hand_stays_a_right_hand(table):
    "From (25, 25), facing the rim at lower x, higher y is to the right."
    right,ahead = relative(np.array([[25., 25.]]), np.array([[[24., 28.]]]))
    np.testing.assert_allclose([right[0, 0], ahead[0, 0]], [3, 1])
    both = turn(np.array([[69., 25.], [70., 22.]]), np.array([True, True]))
    np.testing.assert_allclose(both, [[25, 25], [24, 28]])

MIRRORS = dict(x=lambda xy: [94., 0.]+xy*[-1, 1], y=lambda xy: [0., 50.]+xy*[1, -1],
               rotation=lambda xy: [94., 50.]-xy, transposed=lambda xy: xy[..., ::-1])

@pytest.mark.parametrize('how', MIRRORS)
def test_a_wrong_turn_is_caught(table, monkeypatch, how):
    """The table of the game by hand is known; with `turn` replaced, or applied to the wrong half, it is not that
    any more."""
    def known():
        t = table(*shots()).table
        return len(t) == 24 and np.allclose(t[['x', 'y']].values.reshape(4, 6, 2),
                                            SPOTS[0]+.02*np.arange(6)[None, :, None]) and (t.right1
                < 0).all() and (t.ahead1 > 0).all()
    assert known()
    wrong = MIRRORS[how]
    monkeypatch.setattr(mrtl.basketball.shots, 'turn', lambda xy,
                        right: np.where(np.reshape(right, (-1,)+(1,)*(xy.ndim-1)), wrong(xy), xy) if how
                        != 'rotation' else turn(xy, ~right))
    try: assert not known()
    except DataError: pass

@pytest.mark.parametrize('dx,dy', [(0, 0), (-6, -2), (5.99, 9.99), (-.5, -.5)])
def test_cells_of_the_design(dx, dy):
    row = pd.DataFrame(dict(player=[1], x=[12.3], y=[44.9], y_true=[1]) | {f'{n}{i}': [np.nan]
            for n in ('right', 'ahead') for i in range(1, 6)}).assign(right2=dx, ahead2=dy)
    d = shot_design(row, [0, 1])
    assert d.idx['court'].tolist() == [[12*50+44]] and d.idx['player'].tolist() == [[1]]
    assert d.idx['defender'].tolist() == [[-1, int(np.floor(dy+2))*12+int(np.floor(dx+6)), -1, -1, -1]]
    one = torch.zeros(40*50); one[d.idx['court']] = 1; coarse = d.at(dict(court=(4, 5), defender=(6, 6)))
    assert coarse.idx['court'].tolist() == [[1*5+4]] and one.reshape(40, 50)[12, 44] == 1

def test_the_handler_is_at_cell_6_2(table):
    "Shifted by a cell in the code, this moves."
    t = table(*shots()).table; d = shot_design(t, known_players(t)); cell = d.idx['defender'][0, 0].item()
    p,q = SPOTS[0],SPOTS[5]; want = cells(p, q)
    assert divmod(cell, 12) == (int(np.floor(want[1]+2)), int(np.floor(want[0]+6)))
    assert mrtl.basketball.shots.DEFENDER.locate([0.], [0.]).tolist() == [2*12+6]

def test_rim_height_against_fine_steps():
    rng = np.random.default_rng(1)
    p0,p1 = rng.uniform(-15, 15, (2, 300, 3))
    radius = rng.uniform(1, 8, 300)
    t = np.linspace(0, 1, 4001)[:, None, None]
    path = p0+t*(p1-p0)
    near = np.hypot(path[..., 0], path[..., 1]) <= radius
    want = np.where(near, path[..., 2], -np.inf).max(0)
    got = rim_height(p0, p1, radius)
    clear = near.sum(0) != 0
    assert clear.sum() > 50
    np.testing.assert_allclose(got[clear], want[clear], atol=.02)
    assert ((~np.isfinite(got)) == ~clear).mean() > .98

# ---- logs as they come

def counted(faults): return {k: v for k,v in faults.items() if v and k != 'moments read'}

@pytest.mark.parametrize('name', ['g.json', 'g.json.gz'])
def test_overlapping_events_change_nothing(write, name):
    m,p = shots(); plays = read_play_by_play(pd.DataFrame(p))[0]
    once,twice = (read_sportvu(write(log(m, overlap=k), name))[0] for k in (0, 7))
    assert twice.sizes['frame'] > once.sizes['frame']
    a,b = learning_table(once, plays),learning_table(twice, plays)
    pd.testing.assert_frame_equal(a.table, b.table); assert a.report.frames[1:].tolist() == b.report.frames[1:].tolist()

def test_order_of_rows_and_moments_does_not_matter(table):
    m,p = shots(); rng = np.random.default_rng(0)
    mixed = [x[:5]+[[x[5][i] for i in rng.permutation(11)]] for x in m]; back = mixed[12:24]+mixed[:12]+mixed[24:]
    pd.testing.assert_frame_equal(table(m, p).table, table(back, p).table)

@pytest.mark.parametrize('share', [.3, .6, .95])
@pytest.mark.parametrize('gz', [False, True])
def test_a_cut_file_gives_what_came_before(tmp_path, share, gz):
    raw = json.dumps(log(shots()[0]*30)).encode(); raw = gzip.compress(raw) if gz else raw
    file = tmp_path/('g.json.gz' if gz else 'g.json'); file.write_bytes(raw[:int(len(raw)*share)])
    frames,faults = read_sportvu(file)
    assert faults['files cut'] == 1 and frames.sizes['frame'] > 0 and frames.sizes['frame']%12 == 0

def spoil(what):
    game = log(shots()[0]); ms = game['events'][1]['moments']
    if what == 'events without moments': game['events'].insert(1, dict(game['events'][0], moments=[]))
    elif what == 'not ten players': ms[3][5].pop(); ms[4][5].append([10, 99, 1., 1., 0.])
    elif what == 'ball missing': ms[3][5].pop(0)
    elif what == 'not five against five': ms[3][5][2][0] = 12
    elif what == 'positions or clock missing': ms[3][5][2][2] = float('nan'); ms[4][5][0][4] = None
    elif what == 'events without teams or numbers': del game['events'][1]['home']; del game['events'][2]['visitor']
    elif what == 'text for numbers': ms[3][5][2][2] = 'x'; ms[4][2] = 'soon'
    elif what == 'odd things':
        game['events'][1:1] = [None, 'event', [1], dict(moments=7)]
        game['events'][0]['eventId'] = '1.5'; ms[3][5][2] = None
    elif what == 'clock runs backwards': ms[3],ms[4] = ms[4],ms[3]
    return game

@pytest.mark.parametrize('what,n,lost', [('events without moments', 1, 0), ('not ten players', 2, 2),
                                         ('ball missing', 1, 1), ('not five against five', 1, 1),
                                         ('positions or clock missing', 2, 2), ('clock runs backwards', 1, 0),
                                         ('events without teams or numbers', 2, 24),
                                         ('text for numbers', 2, 2), ('odd things', 4, 1)])
def test_faults_are_counted_and_the_rest_is_kept(write, what, n, lost):
    frames,faults = read_sportvu(write(spoil(what)))
    name = {'text for numbers': 'positions or clock missing', 'odd things': 'events without moments'}.get(what, what)
    extra = {'not ten players': 1} if what == 'odd things' else {}
    assert counted(faults) == {name: n}|extra and frames.sizes['frame'] == 48-lost
    assert (np.diff(tape_of(frames).time) > 0).all()

# ---- archives

@pytest.fixture
def pack(tmp_path):
    py7zr = pytest.importorskip('py7zr')
    def f(name, *members, text=json.dumps(tiny_game()), **kw):
        with py7zr.SevenZipFile(tmp_path/name, 'w', **kw) as z:
            for m in members: z.writestr(text, m)
        return tmp_path/name
    return f

def test_an_archive_gives_the_same_frames_and_leaves_nothing(pack, tmp_path):
    file = pack('g.7z', 'folder/0000000007.json'); (tmp_path/'g.json').write_text(json.dumps(tiny_game()))
    a,b = (read_games(f)[0] for f in (file, tmp_path/'g.json'))
    assert a.equals(b)
    with unpacked(file) as log: assert log.exists()
    assert not log.exists() and {f.name for f in tmp_path.iterdir()} == {'g.7z', 'g.json'}

@pytest.mark.parametrize('member', ['../out.json', '../../out.json', '/tmp/out.json', 'a/../../out.json',
                                    '..\\out.json', 'C:/out.json'])
def test_an_archive_may_not_leave_its_folder(pack, member, monkeypatch):
    import py7zr
    file = pack('bad.7z', 'x'*len(member)); real = py7zr.SevenZipFile.list
    monkeypatch.setattr(py7zr.SevenZipFile, 'list',
                        lambda self: [dataclasses.replace(m, filename=member) if dataclasses.is_dataclass(m)
                                      else setattr(m, 'filename', member) or m for m in real(self)])
    with pytest.raises(FormatError, match='outside its folder'):
        with unpacked(file): pass

@pytest.mark.parametrize('members,kw,says',
                         [(['a.json', 'b.json'], {}, '2 JSON files'), (['readme.txt'], {}, '0 JSON files'),
                          (['a.json'], dict(password='x'), 'password'),
                          (['a.json'], dict(password='x', header_encryption=True), 'password')])
def test_an_archive_of_one_open_game(pack, members, kw, says):
    with pytest.raises(FormatError, match=says): read_games(pack('bad.7z', *members, **kw))

@pytest.mark.parametrize('where', [0, .2, .5, .9])
def test_a_damaged_archive(pack, where):
    file = pack('g.7z', '7.json')
    raw = bytearray(file.read_bytes()); at = int(where*len(raw))
    raw[at:at+40] = bytes(b^255 for b in raw[at:at+40])
    file.write_bytes(raw)
    with pytest.raises(FormatError): read_games(file)
    file.write_bytes(pack('h.7z', '7.json').read_bytes()[:-50])
    with pytest.raises(FormatError, match='damaged'): read_games(file)

def test_a_bomb_is_refused_before_a_byte_is_written(pack, monkeypatch):
    import py7zr
    file = pack('bomb.7z', '7.json', text='0'*10**7); assert file.stat().st_size < 10**4
    monkeypatch.setattr(py7zr.SevenZipFile, 'extract', lambda *a, **k: pytest.fail('unpacked'))
    with pytest.raises(FormatError, match='would unpack to'):
        with unpacked(file, largest=10**6): pass

def test_an_archive_needs_the_extra(pack, monkeypatch):
    file = pack('g.7z', '7.json'); monkeypatch.setitem(__import__('sys').modules, 'py7zr', None)
    with pytest.raises(ConfigError, match='sevenzip'): read_games(file)

def test_a_missing_file_is_named(tmp_path):
    for name in ('no.json', 'no.json.gz', 'no.7z', 'no.nc'):
        with pytest.raises((FileNotFoundError, DataError, FormatError), match='no.'): read_games(tmp_path/name)

@pytest.mark.parametrize('text', ['', '{}', 'hello', '{"events": []}', '{"gameid": "7"}', '[1, 2]'])
def test_not_a_log(write, text):
    with pytest.raises(FormatError, match='not a SportVU game log'): read_sportvu(write(text))

def test_nothing_in_it(write):
    with pytest.raises(DataError, match='no complete moment'):
        read_sportvu(write(dict(log([]), events=[dict(log(shots()[0])['events'][0], moments=[])])))

def test_metres_are_refused(write):
    m,_ = shots()
    for x in m: x[5] = [[t, p, a*.3048, b*.3048, z*.3048] for t,p,a,b,z in x[5]]
    with pytest.raises(DataError, match='metres'): read_sportvu(write(log(m)))

def test_one_game_in_metres_among_others_is_refused(write):
    m,_ = shots(); feet = write(log(m), 'feet.json')
    for x in m: x[5] = [[t, p, a*.3048, b*.3048, z*.3048] for t,p,a,b,z in x[5]]
    with pytest.raises(DataError, match='game 0000000008 reach'):
        read_sportvu([feet, write(log(m)|dict(gameid='0000000008'), 'metres.json')])

def test_missing_positions_in_a_table_are_counted(write, tmp_path):
    frames,_ = read_sportvu(write(log(shots()[0])))
    frames.player[3,2,0] = np.nan; frames.ball[5,2] = np.inf
    frames.to_netcdf(tmp_path/'t.nc')
    got,counts = read_games(tmp_path/'t.nc')
    assert got.sizes['frame'] == 46 and counts['positions or clock missing'] == 2

@pytest.mark.parametrize('raw', [b'', b'\x00\x01\xff\xfe'*50, b'GAME_ID,PERIOD\n'])
def test_a_play_by_play_that_is_none(tmp_path, raw):
    (tmp_path/'p.csv').write_bytes(raw)
    with pytest.raises(FormatError): read_play_by_play(tmp_path/'p.csv')
    with pytest.raises(FormatError): read_play_by_play(tmp_path/'none.csv')

# ---- play-by-play

@pytest.mark.parametrize('time', ['11:60', '1160', '', 'x', '-1:10', None])
def test_unreadable_times_are_counted(time):
    _,p = shots(); plays,left_out = read_play_by_play(pd.DataFrame(p+[dict(p[0], PCTIMESTRING=time)]))
    assert (plays.doubt == '').sum() == 4 and plays.doubt[4] == 'time unreadable' and left_out['time unreadable'] == 1

@pytest.mark.parametrize('column', ['GAME_ID', 'PERIOD', 'PCTIMESTRING', 'EVENTMSGTYPE',
                                    'PLAYER1_ID', 'PLAYER1_TEAM_ID'])
def test_renamed_columns(column):
    with pytest.raises(FormatError, match=f'no column {column}'):
        read_play_by_play(pd.DataFrame(shots()[1]).rename(columns={column: 'other'}))

@pytest.mark.parametrize('change,says', [(dict(GAME_ID=8), 'no row of game'), (dict(PERIOD=4), 'no row of game'),
                                         (dict(PLAYER1_TEAM_ID=12), 'does not play'),
                                         (dict(EVENTMSGTYPE=5), 'no game has a field goal')])
def test_play_by_play_of_another_game(table, change, says):
    m,p = shots()
    with pytest.raises(DataError, match=says): table(m, [r | change for r in p])

def test_a_game_without_shots_is_left_out_and_counted(write):
    m,p = shots(); other = dict(log(m), gameid='0000000008'); files = [write(log(m)), write(other, 'h.json')]
    got = learning_table(read_sportvu(files)[0], read_play_by_play(pd.DataFrame(p))[0])
    assert (dict(got.report.values)['ends known from field goals'] == 48 and set(got.table.game) == {'0000000007'}
            and len(got.table) == 24)

# ---- the rules, one by one

@pytest.mark.parametrize('kind,rows', [(3, 18), (5, 20)])
def test_free_throws_and_turnovers(table, kind, rows):
    "Of the first possession's six frames all lie in the window; those labelled 1 survive a turnover, not a free throw."
    m,p = shots(); got = table(m, p+[dict(p[0], EVENTMSGTYPE=kind, PCTIMESTRING='11:38')])
    assert len(got.table) == rows

@pytest.mark.parametrize('rules,rows', [(dict(horizon=2.1), 24), (dict(horizon=.4), 24)])
def test_parameters_are_obeyed(table, rules, rows):
    got = table(*shots(), rules=ShotRules(**rules)).table
    assert len(got) == rows and got.y_true.sum() == (20 if rules['horizon'] > 1 else 4)

@pytest.mark.parametrize('rules', [dict(reach=.5), dict(high=3.)])
def test_rules_that_leave_no_goal_are_an_error(table, rules):
    with pytest.raises(DataError, match='none of 4 field goals'): table(*shots(), rules=ShotRules(**rules))

@pytest.mark.parametrize('change,says',
                         [(dict(PLAYER1_ID=999), 'none of 4 field goals'),
                          (dict(PLAYER1_ID=None), 'no row of game|no game has a field goal'),
                          (dict(PERIOD='first'), 'no row of game'), (dict(GAME_ID=None), 'no row of game')])
def test_plays_that_fit_no_frame_are_an_error(table, change, says):
    m,p = shots()
    with pytest.raises(DataError, match=says): table(m, [r|change for r in p])

def test_odd_plays_are_counted():
    _,p = shots()
    plays,left_out = read_play_by_play(pd.DataFrame(p+[dict(p[0], PERIOD='first'), dict(p[1], PLAYER1_ID='x'),
            dict(p[2], GAME_ID=None), dict(p[3], EVENTMSGTYPE='?')]))
    assert left_out['game, quarter, kind or shooter unreadable'] == 4 and set(plays.game[plays.doubt
            == '']) == {'0000000007'}
    assert plays.doubt.tolist() == ['']*4+['quarter unreadable', 'no shooter', 'game unreadable', 'kind unreadable']

def test_rules_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError): ShotRules().reach = 5

def test_a_jump_and_a_pass_are_left_out(table):
    m,p = shots()
    for r in m[2][5][1:]: r[2] += 30
    assert len(table(m, p).table) < 24
    m,p = shots(); ball,mate = m[3][5][0],m[3][5][2]; ball[2:4] = mate[2:4]
    clock = table(m, p).table.clock.values
    assert not {699.5, 699.} & set(clock) and 700. in clock

def test_a_repeated_clock_is_one_frame(table):
    m,p = shots(); again = json.loads(json.dumps(m[3])); again[5][0][2] += .1
    got = table(m[:4]+[again]+m[4:], p)
    assert got.report.frames.tolist()[:2] == [49, 48] and len(got.table) == 24

def test_one_player_behind_is_no_half_court(table):
    m,p = shots(); m[2][5][10][2] = 50.
    got = table(m, p)
    assert len(got.table) == 23 and 699. not in got.table.clock.values

# ---- more columns

OLD = ['game', 'quarter', 'clock', 'possession', 'team', 'player', 'x', 'y',
       *(f'{v}{i}' for v in ('right', 'ahead') for i in range(1, 6)), 'shot', 'y_true']
ALL = [f'{v}{i}' for v in ('dright', 'dahead') for i in range(1, 6)]
PAST = ['speed_in', 'speed_right', 'closing', 'touch', 'possession_time']

def restless(seed=0, rate=.5):
    """The game by hand in two quarters, with players who move, a shot clock, missing frames, a change of ball
    handler, and a substitution."""
    rng = np.random.default_rng(seed); m,p = shots(rate=rate); other = shots(3, rate=rate); m,p = m+other[0],p+other[1]
    for i,x in enumerate(m):
        x[3] = None if i%12 == 11 else 24-.5*(i%12)
        for j,r in enumerate(x[5]):
            if j: r[2:4] = [r[2]+rng.normal(0, .3), r[3]+rng.normal(0, .3)]
        x[5] = [x[5][k] for k in (0, *rng.permutation(10)+1)]
    # somebody else has the ball first
    for i in (24, 36): m[i][5][0][2:4] = next([x+.1, y] for _,k,x,y,_ in m[i][5] if k == (2 if i == 24 else 7))
    for i in range(4): m[i][5] = [[t, 99 if k == 6 else k, *r] for t,k,*r in m[i][5]]                # 6 comes for 99
    return [x for i,x in enumerate(m) if i%24 != 2],p

def slowly(moments, row):
    "The new columns of a row of the table by plain loops over the moments."
    seen = sorted((x for x in moments if x[0] == row.quarter and x[2] >= row.clock-1e-6), key=lambda x: x[2])
    now = seen[0]
    def scene(x):
        home = (x[5][0][2] < 47) == (x[0] <= 2); team = 10 if home else 11; ball = complex(*x[5][0][2:4])
        place = {r[1]: complex(r[2], r[3]) for r in x[5][1:]}; side = {r[1]: r[0] for r in x[5][1:]}
        who = min((k for k in place if side[k] == team), key=lambda k: abs(place[k]-ball))
        return dict(home=home, who=who, place=place, foes=[k for k in place if side[k] != team],
                    holds=abs(place[who]-ball) <= 4 and x[5][0][4] < 10)
    s = scene(now); me = s['place'][s['who']]
    rim = 5.25+25j if now[5][0][2] < 47 else 88.75+25j
    u = (rim-me)/abs(rim-me)
    seen_by_him = lambda d: (-(d/u).imag, (d/u).real)
    foes = sorted(s['foes'], key=lambda k: abs(s['place'][k]-me))
    out = {'shot_clock': np.nan if now[3] is None else now[3]}
    for i,k in enumerate(foes): out[f'dright{i+1}'],out[f'dahead{i+1}'] = seen_by_him(s['place'][k]-me)
    if len(seen) < 2 or seen[1][2]-now[2] >= .6: return out | dict.fromkeys(PAST, np.nan)
    dt,b = seen[1][2]-now[2],scene(seen[1])
    out['speed_right'],out['speed_in'] = (v/dt for v in seen_by_him(me-b['place'][s['who']]))
    out['closing'] = (abs(s['place'][foes[0]]-me)
                      -abs(b['place'][foes[0]]-b['place'][s['who']]))/dt if foes[0] in b['place'] else np.nan
    touch = team = now[2]; touching = True
    for x,later in zip(seen[1:], seen):
        c = scene(x)
        if x[2]-later[2] >= .6 or c['home'] != s['home']: break
        team = x[2]; touching = touching and c['who'] == s['who'] and c['holds']
        if touching: touch = x[2]
    return out | dict(touch=touch-now[2], possession_time=team-now[2])

def agrees(table, moments):
    want = pd.DataFrame([slowly(moments, r) for r in table.itertuples()], index=table.index)
    return all(np.allclose(table[c], want[c], atol=1e-9, equal_nan=True) for c in [*ALL, 'shot_clock', *PAST])

@pytest.mark.parametrize('rate', [.5, .25])
def test_new_columns_against_loops(table, rate):
    m,p = restless(rate=rate); got = table(m, p, past=True).table
    assert len(got) > 30 and got.y_true.nunique() == 2 and got.touch.nunique() > 3 and (got.touch
            < got.possession_time).any() and got.shot_clock.notna().any()
    assert 0 < got.speed_in.isna().mean() < .5 and agrees(got, m)

BROKEN = dict(later=('place_before', lambda tape, rows, ids: real_place(tape, np.minimum(rows+2, len(tape.time)-1),
        ids)), slots=('place_before', lambda tape, rows, ids: tape.player[rows-1][:, :ids.shape[1]]),
    forwards=('since', lambda time,
              on: time[::-1][np.maximum.accumulate(np.where(on[::-1], 0, np.arange(len(time))))][::-1]-time),
    mirrored=('relative', lambda *a: (-relative(*a)[0], relative(*a)[1])),
    first=('nearest_defender', lambda tape, hands, rows: (tape.id[rows, np.where(hands.home[rows], 5, 0)],
        np.linalg.norm(tape.player[rows, np.where(hands.home[rows], 5, 0)]-hands.xy[rows], axis=-1))))
real_place = mrtl.basketball.handler.place_before

@pytest.mark.parametrize('how', BROKEN)
def test_broken_columns_are_caught(table, monkeypatch, how):
    m,p = restless(); assert agrees(table(m, p, past=True).table, m)
    monkeypatch.setattr(mrtl.basketball.handler, *BROKEN[how])
    assert not agrees(table(m, p, past=True).table, m)

def test_defenders_in_any_order_or_clipped_are_caught(table, monkeypatch):
    m,p = restless(); real = mrtl.basketball.shots.all_defenders
    for wrong in (lambda r, a: real(r.clip(-6, 6), a.clip(-2, 10)), lambda r,
                  a: {f'{n}{i+1}': v[:, i] for n,v in (('dright', r), ('dahead', a)) for i in range(5)}):
        monkeypatch.setattr(mrtl.basketball.shots, 'all_defenders', wrong)
        assert not agrees(table(m, p, past=True).table, m)

def test_rows_and_old_columns_stay(table):
    m,p = restless(); a,b = table(m, p),table(m, p, past=True)
    assert [c for c in b.table if c not in PAST] == list(a.table) and [c
            for c in a.table if c in OLD] == OLD and set(a.table)-set(OLD) == {*ALL, 'shot_clock'}
    pd.testing.assert_frame_equal(b.table[list(a.table)], a.table, check_exact=True); assert a.report.equals(b.report)
    near = np.hypot(a.table.dright1, a.table.dahead1); assert not a.table[ALL].isna().any(axis=None)
    for i in range(2, 6):
        far = np.hypot(a.table[f'dright{i}'], a.table[f'dahead{i}'])
        assert (far >= near).all(); near = far
    for row in a.table.itertuples():   # inside the grid the old and the new columns hold the same defenders
        old = {(getattr(row, f'right{i}'), getattr(row, f'ahead{i}'))
               for i in range(1, 6) if np.isfinite(getattr(row, f'right{i}'))}
        assert old == {(r, a) for i in range(1, 6) if -6 <= (r := getattr(row, f'dright{i}')) < 6
                       and -2 <= (a := getattr(row, f'dahead{i}')) < 10}

def test_without_a_shot_clock_it_is_nan(write):
    m,p = restless(); frames = read_sportvu(write(log(m)))[0]; plays = read_play_by_play(pd.DataFrame(p))[0]
    a,b = learning_table(frames, plays, past=True).table,learning_table(frames.drop_vars('shot_clock'),
            plays, past=True).table
    assert a.shot_clock.notna().all() and b.shot_clock.isna().all()
    pd.testing.assert_frame_equal(a.drop(columns='shot_clock'), b.drop(columns='shot_clock'))

def looks_ahead(tape, hands):
    "Does any column of any frame change when all later frames are others, in places, numbers and clocks?"
    rng = np.random.default_rng(0); n = len(tape.time)
    all_ = np.arange(n)
    first = pd.DataFrame(mrtl.basketball.handler.moves(tape, hands, all_))
    for k in range(n-1):
        mixed = np.append(all_[:k+1], rng.permutation(all_[k+1:]))
        t = tape.take(mixed)._replace(time=np.append(tape.time[:k+1], np.sort(tape.time[k]+rng.uniform(.05, 9, n-k-1))))
        t = t._replace(player=np.where((all_ > k)[:, None, None], t.player+rng.normal(0, 5, t.player.shape), t.player))
        h = type(hands)(*(v[mixed] for v in hands)); h = h._replace(xy=t.player[all_, h.slot])
        if not pd.DataFrame(mrtl.basketball.handler.moves(t, h, all_[:k+1])).equals(first[:k+1]): return True
    return False

@pytest.mark.parametrize('change,ahead', [(None, False), ('later', True), ('forwards', True), ('linked', True)])
def test_no_column_looks_ahead(write, monkeypatch, change, ahead):
    m,_ = restless(); tape = tape_of(read_sportvu(write(log(m)))[0]); hands = find_hands(tape, tape.quarter <= 2)
    if change == 'linked':
        monkeypatch.setattr(mrtl.basketball.handler.Tape, 'linked', lambda self,
                            link=.6: np.append(np.append(np.diff(self.time) < link, False)[1:], False))
    elif change: monkeypatch.setattr(mrtl.basketball.handler, *BROKEN[change])
    assert looks_ahead(tape, hands) == ahead

def test_the_table_does_not_look_ahead(table):
    """Everybody and the ball a little elsewhere from some frame on: rows before it that are still rows keep every
    column but the label."""
    m,p = restless()
    first = table(m, p, past=True).table; key = ['quarter', 'clock']
    inputs = [c for c in first if c not in ('shot', 'y_true')]
    for quarter,clock in [(1, 698.), (1, 657.5), (3, 699.5)]:
        other = json.loads(json.dumps(m)); rng = np.random.default_rng(1)
        for x in other:
            if (x[0], -x[2]) > (quarter, -clock):
                x[3] = 1.
                x[5] = [[t, k, a+rng.normal(0, .5), b+rng.normal(0, .5), z] for t,k,a,b,z in x[5]]
        got = table(other, p, past=True).table
        both = first.merge(got[key], on=key)
        both = both[(both.quarter < quarter) | (both.quarter == quarter) & (both.clock >= clock)]
        assert len(both) and not got[inputs].equals(first[inputs])
        pd.testing.assert_frame_equal(both[inputs],
                                      both[key].merge(got, on=key)[inputs].set_axis(both.index), check_exact=True)

# ---- splits

@pytest.mark.parametrize('by', ['game', 'possession', 'frame'])
def test_splits(by):
    rng = np.random.default_rng(0); n = 6000
    t = pd.DataFrame(dict(game=np.repeat(np.arange(30), 200), possession=np.repeat(np.arange(600), 10),
                          y_true=(rng.random(n) < .13).astype(int)))
    a,b,c = split_table(t, by, seed=1),split_table(t, by, seed=1),split_table(t, by, seed=2)
    assert (a == b).all() and (a != c).any() and a.attrs['leaky'] == (by == 'frame')
    np.testing.assert_allclose(a.value_counts(normalize=True)[['train', 'valid', 'test']], [.6, .2, .2], atol=.001)
    if by != 'frame': assert (t.groupby(by).apply(lambda g: a[g.index].nunique()) == 1).all()
    else: assert np.ptp([t.y_true[a == s].mean() for s in ('train', 'valid', 'test')]) < .001

@pytest.mark.parametrize('kw', [dict(by='week'), dict(shares=(.5, .5)), dict(shares=(.9, .2, -.1)),
                                dict(shares=(.5, .2, .2))])
def test_splits_refuse(kw):
    with pytest.raises(ConfigError): split_table(pd.DataFrame(dict(game=[1, 2], y_true=[0, 1])), **kw)

# ---- rivals on the same inputs

@pytest.fixture(scope='module')
def planted():
    "A made-up table in which players differ, the nearest defender matters, and so does the speed; and its rows."
    rng = np.random.default_rng(0); n = 3000
    t = pd.DataFrame({c: rng.uniform(-5, 5, n) for c in sum(INPUTS.values(), [])})
    t['player'],t['x'],t['y'],t['shot_clock'],t['clock'] = rng.integers(1, 13, n),rng.uniform(0, 40,
            n),rng.uniform(0, 50, n),rng.uniform(0, 24, n),rng.uniform(0, 720, n)
    t.loc[::7, ['right3', 'ahead3', 'shot_clock', 'speed_in', 'touch']] = np.nan
    t['y_true'] = (rng.random(n) < 1/(1+np.exp(2-.25*t.player+.5*t.dright1+.1*t.x-.4*t.speed_in.fillna(0)))).astype(int)
    part = rng.permutation(n); return t,dict(train=part[:1800], valid=part[1800:2400], test=part[2400:])

def test_hats_add_up_and_reproduce_lines():
    rng = np.random.default_rng(0)
    a,b = np.array([-3., -1, 0, 2, 7]),np.array([0., 1, 5])
    u,v = rng.uniform(-3, 7, 50),rng.uniform(0, 5, 50)
    u[3] = v[4] = np.nan
    hats = lambda axes: Nodes(*(n for _,n in axes)).lookup(*(w for w,_ in axes), outside='clip')
    H = hats([(u, a), (v, b)]); ok = np.isfinite(u+v)
    np.testing.assert_allclose(H.toarray().sum(1), ok)
    np.testing.assert_allclose((H@np.add.outer(2*a, 3*b).ravel())[ok], (2*u+3*v)[ok])
    np.testing.assert_allclose((H@np.multiply.outer(a, b).ravel())[ok], (u*v)[ok])
    np.testing.assert_allclose(hats([(np.array([-9., 9]), a)]).toarray(), np.eye(5)[[0, 4]])

def test_player_rates_against_loops(planted):
    t,rows = planted
    got = player_rates(t, rows['train']); seen = t.iloc[rows['train']]
    far = np.hypot(t.x-5.25, t.y-25)
    edges = [0, *BANDS, np.inf]
    for i in range(0, len(t), 97):
        for j in range(len(BANDS)+2):
            a = seen if j == 0 else seen[(far.iloc[rows['train']] >= edges[j-1]) & (far.iloc[rows['train']] < edges[j])]
            his = a[a.player == t.player.iloc[i]]
            np.testing.assert_allclose(got[i, j], (his.y_true.sum()+20*a.y_true.mean())/(len(his)+20))
    assert player_rates(t.assign(player=99), rows['train'])[:,
            0] == pytest.approx((seen.y_true.sum()+20*seen.y_true.mean())/(len(seen)+20)) and player_rates(t,
            rows['train'], ()).shape == (len(t), 1)
    new = t.copy()
    new.loc[rows['test'][0], 'player'] = 99
    np.testing.assert_allclose(player_rates(new, rows['train'])[rows['test'][0], 0], seen.y_true.mean())

def test_inputs_say_what_the_rivals_see(planted):
    "Each set of inputs uses its own columns and no other: others may be noise."
    t,rows = planted; rng = np.random.default_rng(1); train = rows['train']
    for name,columns in INPUTS.items():
        other = t.copy()
        hidden = [c for c in t if c not in (*columns, 'y_true')]
        other[hidden] = rng.normal(size=(len(t), len(hidden)))
        np.testing.assert_array_equal(tree_columns(t, train, columns), tree_columns(other, train, columns))
        assert (additive_columns(t, train, columns) != additive_columns(other, train, columns)).nnz == 0
        for c in columns:
            other = t.copy(); other[c] = rng.permutation(t[c].values)
            assert not np.array_equal(tree_columns(t, train, columns),
                                      tree_columns(other, train, columns), equal_nan=True), c
            assert (additive_columns(t, train, columns) != additive_columns(other, train, columns)).nnz, c

def fair(t, rows, inputs='past'):
    "Do the labels of test rows stay out, and are two runs the same?"
    other = t.copy(); other.loc[rows['test'], 'y_true'] ^= 1
    a,b = shot_rivals(t, rows, inputs),shot_rivals(other, rows, inputs)
    return all(np.array_equal(a[k], b[k]) for k in a)

@pytest.fixture
def quick(monkeypatch):
    import inspect
    for name,kw in (('boosting', dict(grid=mrtl.basketball.rivals.TREES[:1], most=30)),
                    ('logistic', dict(penalties=(.1, 1.)))):
        real = getattr(mrtl.basketball.rivals, name)
        monkeypatch.setattr(mrtl.basketball.rivals, name, lambda X, y, rows, real=real, kw=kw,
                            **_: real(X, y, rows, **kw))

@pytest.mark.parametrize('inputs', INPUTS)
def test_rivals_learn_and_are_fair(planted, quick, inputs):
    from sklearn.metrics import roc_auc_score
    t,rows = planted; found = shot_rivals(t, rows, inputs); test = rows['test']
    assert set(found) == {'boosting', 'logistic regression'} and fair(t, rows, inputs)
    # the paper's set lacks the nearest defender of this table
    for p in found.values():
        assert len(p) == len(t) and (p > 0).all() and (p < 1).all() and roc_auc_score(t.y_true[test],
                p[test]) > (.6 if inputs == 'paper' else .65)

@pytest.mark.parametrize('what', ['rates of all rows', 'fitted on test rows'])
def test_unfair_rivals_are_caught(planted, quick, monkeypatch, what):
    t,rows = planted
    if what == 'rates of all rows':
        monkeypatch.setattr(mrtl.basketball.rivals, 'player_rates', lambda table,
                            train: player_rates(table, np.arange(len(table))))
    else:
        real = mrtl.basketball.rivals.logistic
        monkeypatch.setattr(mrtl.basketball.rivals, 'logistic', lambda X, y,
                            r: real(X, y, dict(r, train=np.r_[r['train'], r['test']])))
    assert not fair(t, rows)

def test_rivals_refuse(planted):
    t,rows = planted
    with pytest.raises(ConfigError, match='one of paper'): shot_rivals(t, rows, 'everything')
    with pytest.raises(DataError, match='no closing, touch'):
        shot_rivals(t.drop(columns=['touch', 'closing']), rows, 'past')

# ---- the real games

# the definition's own counts
BOOK = [517376, 517376, 506858, 358367, 355899, 278049, 263324, 252431, 249062, 243766, 239800, 237110,
        214758, 196691, 157464]
TRACKING,EVENTS = 'basketball/tracking_400games.nc','basketball/events_400games.csv.gz'

def test_a_class_missing_in_a_split():
    t = pd.DataFrame(dict(game=np.repeat(['a', 'b', 'c', 'd', 'e'], 4), possession=np.arange(20)//2,
                          player=1, y_true=[1]+[0]*19))
    for by in ('game', 'possession', 'frame'):
        with pytest.raises(DataError, match='lack a class'): split_table(t, by)

SUMS = dict(x=3589980.71, y=3968623.88, right1=-10679.081647633124, right2=-1633.9367939551817,
            right5=-6.186972035521021, ahead1=690391.2992621565, ahead2=248156.200191848, ahead5=92.59645167143042,
    dright1=-10116.841927368334, dright5=-38092.20230717622, dahead1=654841.6553101548, dahead5=3690324.5422566747,
    shot_clock=2137689.770088332,
    speed_in=268923.4900537062, speed_right=-20008.956264482455, closing=-293834.48550348973,
    touch=297445.4966274947, possession_time=956128.9829858392)

@pytest.mark.data
def test_the_400_games_have_the_new_columns_on_the_same_rows(data):
    frames,(plays,_) = read_tracking(data(TRACKING)),read_play_by_play(data(EVENTS))
    a,b = (learning_table(frames, plays, past=v).table for v in (False, True))
    pd.testing.assert_frame_equal(b[list(a)], a, check_exact=True)
    assert (not b[ALL].isna().any(axis=None) and b[PAST].isna().mean().max() < .01
            and .02 < b.shot_clock.isna().mean() < .03)
    exact = a[['game', 'quarter', 'clock', 'possession', 'team', 'player', 'shot', 'y_true']]
    # the rows before these columns were added, without 18 that no play vouches for
    assert pd.util.hash_pandas_object(exact, index=False).sum() == 9643934514717772226
    for c,v in SUMS.items(): np.testing.assert_allclose(b[c].sum(), v, rtol=1e-9, err_msg=c)

@pytest.mark.data
def test_the_400_games_and_their_logs(data):
    frames,(plays,left_out) = read_tracking(data(TRACKING)),read_play_by_play(data(EVENTS))
    got = learning_table(frames, plays)
    assert left_out['time unreadable'] == 0 
    np.testing.assert_allclose(got.report.frames[:9], BOOK[:9], rtol=2e-4)
    np.testing.assert_allclose(got.report.frames[:15], BOOK, rtol=.006)
    assert (got.report.frames.iloc[14] == 156710 and len(got.table) == 156692 and not got.doubts.refused.any()
            and got.doubts.share.max() < .016)
    # what this version gives; a change must be meant
    assert got.table.y_true.sum() == 19860 and (got.goals.outcome == 'aligned').sum() == 14280
    assert .12 < got.table.y_true.mean() < .14 and (got.goals.outcome
                                                    == 'aligned').mean() > .82 and abs((got.goals.outcome
            == 'never in contact').sum()-870) < 3
    logs = sorted(data('basketball/sportvu_json').glob('*.json.gz')); few,faults = read_sportvu(logs)
    assert few.sizes['game'] == 8 and counted(faults) == {}
    drop = lambda t: t.drop(columns=['possession', 'shot']).reset_index(drop=True)
    pd.testing.assert_frame_equal(drop(learning_table(few, plays).table),
                                  drop(got.table[got.table.game.isin(few.game_id.values)]), check_exact=False,
                                  atol=1e-3, rtol=0, check_dtype=False)
