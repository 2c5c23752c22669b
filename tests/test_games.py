"""Simulated games: every shot comes back, at any rate and packed or not; and what a wrong turn of the court or a
shifted cell would do is seen at once."""
import json
import numpy as np, pandas as pd, pytest
from mrtl.basketball.plays import read_play_by_play
from mrtl.basketball.tracking import read_games
from mrtl.core import ConfigError, DataError
from mrtl.basketball.games import elsewhere, game_frames, placed, planted_league, shot_odds, simulate_games, situations
from mrtl.basketball.shots import COURT, DEFENDER, learning_table
from mrtl.basketball.handler import RIM, relative

@pytest.fixture(scope='module')
def truth(): return planted_league(seed=3)

def learned(frames, plays): return learning_table(frames, read_play_by_play(plays)[0])

def learn(folder, truth, **kw):
    files,plays = simulate_games(folder, truth, **kw)
    return learned(read_games(files)[0], plays)

@pytest.fixture(scope='module')
def logs(truth, tmp_path_factory):
    "Frames and plays of six games."
    files,plays = simulate_games(tmp_path_factory.mktemp('season'), truth, games=6)
    return read_games(files)[0],plays

@pytest.fixture(scope='module')
def season(logs): return learned(*logs)

def surprise(table, truth):
    "Log loss of each row under the planted odds."
    near = np.stack([table.filter(regex='^right').values, table.filter(regex='^ahead').values], -1)
    s = shot_odds(truth, table.player.values-101, table[['x','y']].values, near)
    return np.logaddexp(0, s)-table.y_true.values*s

def test_every_goal_finds_its_release_and_every_label_is_fair(season, truth):
    assert set(season.goals.outcome) == {'aligned'} and len(season.table) > 12000
    loss = surprise(season.table, truth); p = season.table.y_true.mean()
    near = np.stack([season.table.filter(regex='^right').values, season.table.filter(regex='^ahead').values], -1)
    q = 1/(1+np.exp(-shot_odds(truth, season.table.player.values-101, season.table[['x','y']].values, near)))
    assert abs(loss.mean()+np.mean(q*np.log(q)+(1-q)*np.log(1-q))) < .02 and loss.mean() < -p*np.log(p)-(1
            -p)*np.log(1-p)-.05

def test_simulated_games_have_the_new_columns(logs, season):
    frames,plays = logs; more = learning_table(frames, read_play_by_play(plays)[0], past=True).table
    pd.testing.assert_frame_equal(more[list(season.table)], season.table, check_exact=True)
    assert not more.filter(regex='^d(right|ahead)').isna().any(axis=None) and more.shot_clock.notna().all()
    new = more[['speed_in', 'speed_right', 'closing', 'touch', 'possession_time']]
    assert len(new.columns) == 5 and new.notna().mean().min() > .3 and (more.touch.dropna()
            <= more.possession_time.dropna()+1e-9).all()

RIGHT = [f'right{i}' for i in range(1, 6)]
WRONG = {'mirrored in y': lambda t: t.assign(y=50-t.y, **{c: -t[c] for c in RIGHT}),
         'mirrored in x': lambda t: t.assign(x=40-t.x), 'turned': lambda t: t.assign(x=40-t.x, y=50-t.y),
    'transposed': lambda t: t.assign(x=t.y*.8, y=t.x*1.25),
    'handler a cell too far to the right': lambda t: t.assign(**{c: t[c]+1 for c in RIGHT}),
    'handler two cells too far ahead': lambda t: t.assign(**{c.replace('right',
        'ahead'): t[c.replace('right', 'ahead')]+2 for c in RIGHT}),
    'defenders mirrored': lambda t: t.assign(**{c: -t[c] for c in RIGHT}),
    'defenders transposed': lambda t: t.assign(**{f'right{i}': t[f'ahead{i}']-4 for i in range(1, 6)},
                                               **{f'ahead{i}': t[f'right{i}']+4 for i in range(1, 6)})}

@pytest.mark.parametrize('what', WRONG)
def test_a_wrong_court_is_seen(season, truth, what):
    d = surprise(WRONG[what](season.table), truth)-surprise(season.table, truth)
    d = d[:len(d)//2*2].reshape(-1, 2).mean(1)
    # paired, in standard errors
    assert d.mean()/(d.std()/len(d)**.5) > 3

def mirror_y(frames): return frames.assign(player=frames.player*[1, -1]+[0, 50], ball=frames.ball*[1, -1, 1]+[0, 50, 0])
def mirror_x(frames): return frames.assign(player=frames.player*[-1, 1]+[94, 0], ball=frames.ball*[-1, 1, 1]+[94, 0, 0])
def turned(frames): return mirror_x(mirror_y(frames))

@pytest.mark.parametrize('change', [mirror_y, mirror_x])
def test_a_mirrored_log_is_seen(season, truth, logs, change):
    wrong = learned(change(logs[0]), logs[1]).table
    # nothing but the planted maps can tell
    assert len(wrong) == pytest.approx(len(season.table), rel=.01) and surprise(wrong,
            truth).mean() > surprise(season.table, truth).mean()+.02

def test_a_turned_log_is_the_same(season, logs):
    pd.testing.assert_frame_equal(learned(turned(logs[0]), logs[1]).table, season.table, rtol=1e-6)

def test_25_hz_gives_the_labels_of_2_hz(truth, tmp_path):
    slow,fast = (learn(tmp_path/str(r), truth, games=1, quarters=1, rate=r).table for r in (2., 25.))
    key = lambda t: t.assign(clock=t.clock.round(2)).set_index(['player', 'clock'])
    both = key(slow).join(key(fast).add_suffix('_fast'), how='inner')
    # half a second is no whole number of frames at 25 Hz: decisions' first frames coincide
    assert len(both) > .45*len(slow)
    assert (both.y_true == both.y_true_fast).all() and len(fast) > 6*len(slow)
    np.testing.assert_allclose(both.x, both.x_fast, atol=.05)

def test_packed_files_hold_the_same(truth, tmp_path):
    a,b = (read_games(simulate_games(tmp_path/str(p), truth, games=1, quarters=1, packed=p)[0])[0]
           for p in (False, True))
    assert (a.equals(b) and (tmp_path/'True'/'0000000001.json.gz').stat().st_size
            < .4*(tmp_path/'False'/'0000000001.json').stat().st_size)

def test_same_seed_same_files(truth, tmp_path):
    for d,seed in (('a', 1), ('b', 1), ('c', 2)): simulate_games(tmp_path/d, truth, games=1, quarters=1, seed=seed)
    read = lambda d: (tmp_path/d/'0000000001.json').read_bytes()+(tmp_path/d/'plays.csv').read_bytes()
    assert read('a') == read('b') != read('c')

def test_overtime(truth, tmp_path):
    L = learn(tmp_path, truth, games=1, quarters=6)
    assert {5, 6} <= set(L.table.quarter) and set(L.goals.outcome) == {'aligned'} and L.table[L.table.quarter
            > 4].clock.max() <= 300

def test_a_game_without_shots(truth, tmp_path):
    with pytest.raises(DataError, match='no game has a field goal|no row of game'):
        learn(tmp_path/'a', truth, games=1, quarters=1, shots=False)
    files,plays = simulate_games(tmp_path/'b', truth, games=2, quarters=1)
    p = pd.read_csv(plays)
    p[~((p.GAME_ID == 2) & p.EVENTMSGTYPE.isin([1, 2]))].to_csv(plays, index=False)
    L = learning_table(read_games(files)[0], read_play_by_play(plays)[0]); left = L.report.set_index('step').frames
    assert set(L.table.game) == {'0000000001'} and left['ends known from field goals'] < left['no jumps']

def test_places_that_play_no_part(truth):
    rng = np.random.default_rng(0); handler,near = situations(400, rng); spots = elsewhere(handler, 5, rng)
    right,ahead = relative(handler, spots)
    assert not ((right >= -6) & (right < 6) & (ahead >= -2) & (ahead < 10)).any()
    w = RIM-handler; t = np.clip(((spots-handler[:,None])*w[:,None]).sum(-1)/(w**2).sum(1)[:,None], 0, 1)[...,None]
    assert np.linalg.norm(spots-handler[:,None]-t*w[:,None],
                          axis=-1).min() > 4 and np.nanmax(np.abs(np.stack(relative(handler, placed(handler, near)),
            -1)-near)) < 1e-12

def test_odds_by_loops(truth):
    rng = np.random.default_rng(1)
    handler,near = situations(20, rng); who = rng.integers(16, size=20)
    got = shot_odds(truth, who, handler, near)
    for n in range(20):
        bag = sum((truth.defender.values[int(a+2), int(r+6)] for r,a in near[n] if np.isfinite(r)), np.zeros(2))
        s = float(truth.bias)+(truth.strength.values*truth.player_loading.values[who[n]]*truth.court.values[int(handler[n,0]), int(handler[n,1])]*bag).sum()
        assert got[n] == pytest.approx(s, rel=1e-12)

def test_a_truth_whose_centre_moves(truth):
    t = planted_league(seed=3, drift=6.); assert 2 < t.drift.values.std() < 12 and not truth.drift.values.any()
    h,near = np.array([[20., 25.]]),np.full((1, 5, 2), np.nan); near[0,0] = 0, 3; moved = h+[0, t.drift.values[2]]
    assert shot_odds(t, np.array([2]), moved, near) == pytest.approx(shot_odds(t.assign(drift=0*t.drift),
            np.array([2]), h, near))

@pytest.mark.parametrize('kw', [dict(players=20), dict(players=8), dict(rank=0), dict(rate=1.),
                                dict(spread=0), dict(drift=-1.)])
def test_leagues_that_cannot_be(kw):
    with pytest.raises(ConfigError): planted_league(**kw)

def test_the_home_team_attacks_left_before_half_time(truth):
    (quarter,clock,ball,_,_),goals = game_frames(truth, (0, 1), np.random.default_rng(0))
    for g in goals.sample(60, random_state=0).itertuples():
        now = (quarter == g.quarter) & (clock <= g.time+3.01) & (clock >= g.time+1.5)
        assert ((ball[now,0] < 47) == ((g.side == 0) == (g.quarter <= 2))).all()
