"""What readers from outside stumbled over with tables that come again: which rows a run has seen, units of bags,
covariates and exposures, zeros that fill gaps, exposures without counts, and labels like =."""
import json, warnings
import numpy as np, pandas as pd, pytest, xarray as xr
from mrtl.cli import main
from mrtl.core import ConfigError, DataError
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.event_tables import read_events
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.own_events import by_chance
from mrtl.own_fields import Asked, own_problem
from mrtl.runfiles import read_predictions
from mrtl.tabular import marks_of, odd_numbers, odd_zeros

def season(seed, matches=12):
    "Counts by player and cell, in the same order each season."
    rng = np.random.default_rng(seed)
    t = pd.DataFrame([(f'{seed}-{g}', p, x, y) for g in range(matches) for p in 'abc' for x in range(4)
                      for y in range(3)], columns=['match','player','x','y'])
    t['minutes'] = rng.integers(20, 110, matches)[np.arange(len(t))//36]
    t['wind'] = np.round(rng.normal(0, 1, matches), 2)[np.arange(len(t))//36]
    return t.assign(touches=rng.poisson(t.minutes/60*np.exp(.3*(t.player=='a')+.1*t.x)))

def attacks(n=240, seed=0):
    "Who attacks how fast, and what is around."
    rng = np.random.default_rng(seed)
    t = pd.DataFrame(dict(team=rng.choice(['u','v'], n), speed=rng.uniform(120, 235, n)))
    for k in ('b1_x','b1_y','b2_x','b2_y'): t[k] = rng.uniform(-1, 1, n)
    t.loc[rng.random(n)<.3, ['b2_x','b2_y']] = np.nan
    return t.assign(result=np.where(rng.random(n)<.3+.3*(t.team=='u'), '=', 'kill'))

@pytest.fixture(scope='module')
def counted(tmp_path_factory):
    d = tmp_path_factory.mktemp('counts'); season(0).to_csv(d/'t.csv', index=False)
    assert main(['events', '--table', str(d/'t.csv'), '--label', 'touches', '--index', 'player', '--place',
                 'x,y:4x3@0:4,0:3', '--covariates', 'wind', '--exposure', 'minutes',
                 '--groups', 'match', '--terms', 'player', '--rank', '1', '--out', str(d/'run')]) == 0
    return d

@pytest.fixture(scope='module')
def classed(tmp_path_factory):
    d = tmp_path_factory.mktemp('classes'); attacks().to_csv(d/'t.csv', index=False)
    assert main(['events', '--table', str(d/'t.csv'), '--label', 'result', '--index', 'team', '--bag',
                 'b1_x,b1_y+b2_x,b2_y:3x3@-1:1,-1:1', '--covariates', 'speed', '--terms', 'team,bag', '--rank', '1',
                 '--out', str(d/'run')]) == 0
    return d

def predict(d, table, capsys, *more):
    table.to_csv(d/'new.csv', index=False); capsys.readouterr()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        code = main(['predict', str(d/'run'), '--table', str(d/'new.csv'), '--out', str(d/'p.csv'), *more])
    said = capsys.readouterr()
    return code,said.out+said.err+' '.join(str(w.message) for w in told)

# ---- which rows a run has seen

def test_a_new_season_in_the_same_order_is_new(counted, capsys):
    t = season(0); n = len(t)
    code,said = predict(counted, t, capsys)
    assert code == 0 and f'{n} seen in training, 0 new with a label' in said and 'lies outside' not in said
    for other in (season(1), t.assign(wind=t.wind+.01), t.assign(minutes=t.minutes+1), t.assign(match='other')):
        code,said = predict(counted, other, capsys)
        assert code == 0 and f'0 seen in training, {n} new with a label' in said
    assert json.loads((counted/'p.metrics.json').read_text())['test']

def test_numbers_and_places_alone_prove_nothing(counted, capsys):
    t = season(0); n = len(t)
    code,said = predict(counted, t.assign(touches=season(1).touches), capsys)
    assert f'0 seen in training, {n} new with a label' in said and 'by chance: all count as new' in said
    few = t.copy(); few.loc[[3, 50], 'touches'] += 1
    code,said = predict(counted, few, capsys)
    assert f'{n-2} seen in training, 2 new with a label' in said and 'but another label: they count as new' in said
    code,said = predict(counted, t.drop(columns='touches'), capsys)
    assert f'{n} seen in training' in said
    code,said = predict(counted, t.drop(columns='match'), capsys)
    assert 'has no column match, by which the run tells rows apart' in said and f'{n} new with a label' in said

def test_a_run_whose_rows_have_short_marks_knows_none(counted, tmp_path, capsys):
    copy = tmp_path/'run'; copy.mkdir()
    for f in (counted/'run').iterdir():
        if f.is_file() and f.name!='predictions.csv': (copy/f.name).symlink_to(f)
    p = pd.read_csv(counted/'run'/'predictions.csv'); p['sample'] = p['sample'].str[:-4]
    p.to_csv(copy/'predictions.csv', index=False)
    assert 'make the run again' in predict(tmp_path, season(0), capsys)[1]

def test_a_mark_covers_all_that_is_read(tmp_path):
    t = season(0); t.to_csv(tmp_path/'t.csv', index=False)
    modes = dict(player='player')
    mark = lambda **k: (t.assign(**k).to_csv(tmp_path/'u.csv', index=False),
                        read_events(tmp_path/'u.csv', modes, 'touches', ['wind'], also=['match']).mark)[1]
    own = mark()
    assert own.dtype.itemsize == 4 and (mark(touches=1+t.touches) == own).all()
    assert (mark(wind=t.wind+1) != own).all() and (mark(match='z') != own).all() and (mark(player='z') != own).all()

@pytest.mark.parametrize('share', [.5, .95])
def test_labels_that_agree_by_chance(share):
    rng = np.random.default_rng(0); a = (rng.random(4000)<share).astype(float); mended = a.copy()
    mended[:20] = 1-a[:20]; other = rng.permutation(a)
    assert not by_chance(a, a, a==a) and not by_chance(mended, a, mended==a) and by_chance(other, a, other==a)

# ---- bags, covariates and exposures in another unit

def test_a_bag_in_another_unit(classed, capsys):
    t = attacks(100, 1); cm = t.assign(**{k: 100*t[k] for k in ('b1_x','b1_y','b2_x','b2_y')})
    code,said = predict(classed, t, capsys)
    assert code == 0 and 'check that' not in said
    code,said = predict(classed, cm, capsys)
    assert code == 2 and 'of 100 rows of' in said and 'far fewer have one inside than in the training' in said
    code,said = predict(classed, cm, capsys, '--unknown')
    assert code == 0 and 'bag adds nothing in' in said and 'these are most rows' in said

def test_a_bag_in_another_unit_in_python():
    t = attacks(100); pairs = [('b1_x','b1_y'),('b2_x','b2_y')]; spec = dict(bag=pairs)
    cm = t.assign(**{k: 100*t[k] for k in ('b1_x','b1_y','b2_x','b2_y')})
    for lookup in ('cell','bilinear'):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            d = EventDesign.from_table(t, spec, dict(bag=Grid((3, 3), y=(-1, 1), x=(-1, 1))), lookup=lookup)
        with pytest.warns(UserWarning, match='of the 100 rows that have places of bag all of them lie outside'):
            far = EventDesign.from_table(cm, spec, like=d, lookup=lookup)
        m = MRTLClassifier(terms=['bag']).fit(d, t.result)
        with pytest.warns(UserWarning, match='bag adds nothing in'): m.predict(far)

def test_a_place_that_is_missing_is_told():
    t = attacks(50); spec = dict(spot=('b2_x','b2_y')); grid = dict(spot=Grid((3, 3), y=(-1, 1), x=(-1, 1)))
    gone = int(t.b2_x.isna().sum()); assert gone
    with pytest.warns(UserWarning, match=f'{gone} of 50 rows have no place of spot, which adds nothing there'):
        EventDesign.from_table(t, spec, grid, outside='clip')
    with warnings.catch_warnings():
        warnings.simplefilter('error'); EventDesign.from_table(t.dropna(), spec, grid, outside='clip')

def test_a_covariate_in_another_unit(classed, capsys):
    t = attacks(200, 1)
    code,said = predict(classed, t.assign(speed=t.speed/1.609), capsys)
    assert code == 0 and 'the covariate speed lies outside the range of the training rows, 12' in said
    for fine in (t.speed, t.speed+4):
        assert 'lies outside the range' not in predict(classed, t.assign(speed=fine), capsys)[1]

def test_an_exposure_in_another_unit(counted, capsys):
    t = season(1)
    code,said = predict(counted, t.assign(minutes=t.minutes*60), capsys)
    assert code == 0 and 'the exposure lies outside the range of the training rows' in said
    assert 'lies outside the range' not in predict(counted, t.assign(minutes=t.minutes*1.2), capsys)[1]

def test_ranges_are_kept_in_a_file(tmp_path):
    t = season(0); d = EventDesign.from_table(t, dict(player='player'))
    m = MRTLRegressor(loss='poisson', terms=['player']).fit(d, t.touches, covariates=t[['wind']],
                                                            offset=np.log(t.minutes))
    m.save(tmp_path/'m'); m = MRTLRegressor.load(tmp_path/'m')
    more = lambda k, c: dict(covariates=t[['wind']]+c, offset=np.log(t.minutes*k))
    with pytest.warns(UserWarning, match='the exposure lies outside'): m.predict(d, **more(1e-3, 0))
    with pytest.warns(UserWarning, match='the covariate wind lies outside'): m.predict(d, **more(1, 9))
    with warnings.catch_warnings(): warnings.simplefilter('error'); m.predict(d, **more(1, .02))
    few = d.take([0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        m.predict(few, covariates=pd.DataFrame(dict(wind=[t.wind.max()+1]*2)), offset=np.log(t.minutes[:2]))

# ---- zeros that fill gaps

RNG = np.random.default_rng(0)
def some_zeros(v, share=.03): return np.where(RNG.random(len(v))<share, 0, v)

@pytest.mark.parametrize('v', [some_zeros(RNG.uniform(119, 235, 3000)), some_zeros(RNG.normal(1013, 8, 500)),
                               some_zeros(RNG.integers(1950, 2010, 800), .1), some_zeros(RNG.poisson(200, 900))])
def test_zeros_far_from_all_else_are_told(v):
    assert odd_zeros(v.astype(float)) == {0.: (v==0).sum()} and odd_numbers(pd.Series(v), True) == {0.: (v==0).sum()}

@pytest.mark.parametrize('v', [RNG.poisson(4, 3000), RNG.poisson(30, 3000), RNG.exponential(9, 3000),
    some_zeros(RNG.gamma(2, 5, 3000), .1), some_zeros(RNG.gamma(2, 5, 3000), .6), RNG.integers(0, 2, 300),
    RNG.choice([0, 100], 300, p=[.1, .9]), RNG.choice([0, 5, 10, 15], 900), some_zeros(RNG.integers(20, 110, 900)),
    RNG.normal(0, 1, 300), some_zeros(RNG.normal(0, 1, 300)), some_zeros(RNG.uniform(119, 235, 300), .5),
    some_zeros(RNG.lognormal(0, 1, 900)), np.zeros(9), np.append(RNG.uniform(119, 235, 300), 0)])
def test_zeros_that_may_be_values_are_not_told(v): assert odd_zeros(np.asarray(v, float)) == {}

def test_a_mark_of_one_column(tmp_path, capsys):
    t = season(0).assign(won=lambda t: (t.touches>1).astype(int), speed=some_zeros(RNG.uniform(119, 235, 432)))
    t.to_csv(tmp_path/'t.csv', index=False); zeros = int((t.speed==0).sum())
    def plan(*more):
        code = main(['events', '--table', str(tmp_path/'t.csv'), '--label', 'won', '--index', 'player', '--place',
                     'x,y:3x3@-2:4,-2:3', '--covariates', 'speed', '--dry-run', *more])
        said = capsys.readouterr(); return code,said.out+said.err
    code,said = plan()
    assert code == 0 and f'{zeros} times 0' in said and 'say --missing "speed=0"' in said
    code,said = plan('--missing', 'speed=0')
    assert code == 0 and f'left out: {zeros} without speed' in said and 'times 0' not in said
    code,said = plan('--missing', '0')
    assert code == 2 and 'in all rows that are left, since --missing 0 takes' in said and 'COLUMN=0' in said
    code,said = plan('--missing', 'sped=0')
    assert code == 2 and "column 'sped'" in said and "'speed'" in said
    assert main(['events', '--table', str(tmp_path/'t.csv'), '--label', 'won', '--index', 'player',
                 '--missing', 'speed=x']) == 2

def test_what_marks_a_missing_value_in_a_column():
    given = [-9., 'speed=0.0']
    assert marks_of(given, 'speed') == [-9., 0.] and marks_of(given, 'x') == marks_of(given) == [-9.]
    assert marks_of(['speed=0.0'], 'x') is None and marks_of([], 'x') == [] and marks_of(None, 'x') is None

def test_an_end_at_zero_is_shown_as_zero(tmp_path, capsys):
    t = season(0).assign(x=lambda t: -t.x/2); t.to_csv(tmp_path/'t.csv', index=False)
    assert main(['events', '--table', str(tmp_path/'t.csv'), '--label', 'touches', '--index', 'player', '--place',
                 'x,y:3x3@-2:0,0:3', '--dry-run']) == 0
    assert 'x from -2 to 0,' in capsys.readouterr().out

# ---- an exposure is of counts

@pytest.mark.parametrize('label,more,code,says', [
    ('touches', (), 0, 'target: touches (counts)'), ('touches', ('--kind','regression'), 2, 'say --kind counts'),
    ('rate', (), 2, 'which is none: leave --exposure out'), ('rate', ('--kind','counts'), 0, 'target: rate (counts)'),
    ('player', (), 2, "holds a, which is none"), ('wind', (), 2, 'leave --exposure out'),
    ('won', (), 0, 'exposure: minutes, from ')])
def test_an_exposure_of_events(label, more, code, says, tmp_path, capsys):
    t = season(0).assign(rate=lambda t: t.touches/t.minutes, won=lambda t: (t.touches>1).astype(int))
    t.to_csv(tmp_path/'t.csv', index=False)
    assert main(['events', '--table', str(tmp_path/'t.csv'), '--label', label, '--place', 'x,y:3x3', '--exposure',
                 'minutes', '--dry-run',
                 *more]) == code
    said = capsys.readouterr(); assert says in said.out+said.err

def test_an_exposure_of_fields():
    rng = np.random.default_rng(0); when = pd.date_range('2001-01-01', periods=80, freq='MS')
    x = xr.DataArray(rng.normal(size=(80, 3, 4)), dims=('time','y','x'),
                     coords=dict(time=when, y=np.arange(3.), x=np.arange(4.)), name='rain')
    t = pd.DataFrame(dict(cases=rng.poisson(9, 80), people=1000.), index=when)
    make = lambda t, **k: own_problem(x, t, ['cases'], Asked(exposure='people', **k))
    p = make(t); assert p.kind == 'counts' and any('(counts)' in s for s in p.said)
    with pytest.raises(DataError, match='which is none: leave --exposure out'): make(t.assign(cases=t.cases+.5))
    assert make(t.assign(cases=t.cases+.5), kind='counts').kind == 'counts'
    with pytest.raises(ConfigError, match='--exposure is for counts'): make(t, kind='regression')
    gaps = t.assign(people=np.where(np.arange(80)<5, 0., 1000.))
    with pytest.raises(DataError, match='as --missing "people=0" does'): make(gaps)
    with pytest.raises(ConfigError, match='among those that are read'): make(t, missing=('peple=0.0',))

# ---- labels that look like a formula

def test_labels_like_a_formula(classed, capsys):
    code,said = predict(classed, attacks(60, 2), capsys)
    assert "p.csv has '= for = in its columns prediction, truth" in said and 'take it off to compare' in said
    assert "'=" in set(pd.read_csv(classed/'p.csv').truth) and 'p_=' in pd.read_csv(classed/'p.csv')
    p = read_predictions(classed/'run'); assert set(p.truth) == {'=', 'kill'}
