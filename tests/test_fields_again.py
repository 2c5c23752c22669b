"""Fields and tables once more: counts that vary more than Poisson's, flags among values, composites that begin anew,
times without a forecast, and what is said of all that."""
import re
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from types import SimpleNamespace
from mrtl.cli import main
from mrtl.core import AbsentError, DataError
from mrtl.designs import FieldDesign
from mrtl.estimators import MRTLRegressor
from mrtl.gaps import learn_gaps
from mrtl.own import no_intervals
from mrtl.own_data import fields_of
from mrtl.own_fields import Asked, own_problem
from mrtl.parallel import hold_threads
from mrtl.readers import checked
from mrtl.runfiles import read_metrics
from mrtl.seasons import windows_of
from mrtl.tabular import parse_times

def maps(t, lon=(280., 282, 284, 286), name='sst', seed=0):
    x = np.random.default_rng(seed).normal(size=(len(t), 3, 4)).astype('f4')
    return xr.DataArray(x, dict(time=t, lat=[0., 2, 4], lon=list(lon)), ('time','lat','lon'), name, dict(units='K'))

# ---- counts by gradients

@pytest.fixture(scope='module')
def counts():
    "A fit of counts that vary much more than Poisson's, and one of Poisson's."
    rng = np.random.default_rng(0); n = 210
    X = rng.normal(size=(n, 4, 6))
    z = pd.DataFrame(dict(h=rng.normal(size=n)))
    mu = np.exp(3+.3*z.h.to_numpy()); fit = lambda y: MRTLRegressor(loss='poisson', rank=1, method='sgd', max_epochs=15,
        full_levels=1, schedule=[(4, 6)], l2=1.).fit(X, y, covariates=z)
    return fit(rng.poisson(mu*rng.gamma(3, 1/3, n))),fit(rng.poisson(mu))

def test_covariates_of_counts_allow_for_their_spread(counts, tmp_path):
    wide,plain = counts; std = [float(m.covariates_['std'][0]) for m in counts]
    assert plain.dispersion_.tolist() == [1.] and 4<wide.dispersion_[0]<14
    assert std[0]/std[1] == pytest.approx(np.sqrt(wide.dispersion_[0]), rel=.15)
    wide.save(tmp_path/'m.mrtl'); again = MRTLRegressor.load(tmp_path/'m.mrtl')
    assert again.dispersion_.tolist() == wide.dispersion_.tolist()
    assert float(again.covariates_['std'][0]) == std[0]

def test_numbers_have_no_spread_of_counts():
    X = np.random.default_rng(0).normal(size=(60, 2, 3))
    m = MRTLRegressor(rank=1, method='sgd', max_epochs=2).fit(X, X[:,0,0])
    with pytest.raises(AbsentError, match="needs counts"): m.dispersion_
    assert 'whole area' in m.coef_.attrs['long_name']

@pytest.mark.parametrize('kind,says', [('counts', 'maps no intervals.*validation rows'),
                                       ('regression', 'validation rows'),
                                       ('classes', 'probabilities no intervals')])
def test_what_gradients_leave_without_intervals(kind, says):
    p = SimpleNamespace(labels=kind=='classes', class_count=2)
    assert re.search(says, no_intervals(p)) and 'predictions no intervals' not in no_intervals(p)
    p.class_count = 3; assert 'validation' not in no_intervals(p) or kind!='classes'

# ---- flags

RNG = np.random.default_rng(1); SIZE = 40,8,8
def some(flags, share=.1): return lambda x: np.where(RNG.random(SIZE)<share, RNG.choice(flags, SIZE), x)
WHOLE,PART = RNG.integers(0, 101, SIZE).astype(float),RNG.uniform(0, 100, SIZE)
U1,I2,F4 = (dict(dtype=np.dtype(k)) for k in ('u1','i2','f4'))
NDVI = I2|dict(scale_factor=1e-4); LST = dict(dtype=np.dtype('u2'), scale_factor=.02)

@pytest.mark.parametrize('x,enc,units,found', [
    (some([237,250,255])(WHOLE), U1, 'percent', {237,250,255}),
    (some([237,250,255])(WHOLE), U1, '%', {237,250,255}),
    (some([200,201,211,237,239,250,254,255], .5)(WHOLE), U1, 'percent', {200,201,211,237,239,250,254,255}),
    (some([200,253])(PART), F4, 'Percent', {200,253}),
    (some([-1])(WHOLE), I2, '%', {-1}),
    (some([-128])(WHOLE), I2, '%', {-128}),
    (some([252,253])(some(range(101, 105), .05)(PART)), F4, '%', {252,253}),
    (some([506])(WHOLE)*.5, I2|dict(scale_factor=.5), '%', {506}),
    (some([-.3])(RNG.uniform(-.2, .9, SIZE)), NDVI, '', {-3000}),
    (some([0.])(RNG.uniform(200, 335, SIZE)), LST, 'K', {0}),
    (some(range(249, 256))(RNG.integers(0, 70, SIZE)), U1, '', set(range(249, 256))),
    (some(range(32761, 32768))(RNG.integers(0, 3000, SIZE)), I2, '', set(range(32761, 32768))),
])
def test_flags_are_refused(x, enc, units, found):
    x = np.asarray(x, 'f4')
    with pytest.raises(DataError, match='does not declare') as e: checked(x, 'v', 'it', dict(units=units), enc)
    for f in found: assert f"times {f}" in str(e.value) and '--missing' in str(e.value)
    left = checked(x, 'v', 'it', dict(units=units), enc, sorted(found))
    assert np.isnan(left).sum() and np.isfinite(left).any()
    assert np.array_equal(checked(x, 'v', 'it', dict(units=units), enc, []), x)

@pytest.mark.parametrize('x,enc,units', [
    (WHOLE, U1, '%'), (PART, F4, 'percent'),
    (np.minimum(PART+5, 105).round(), F4, '%'),                       # humidity over 100
    (PART+RNG.normal(0, 3, SIZE), F4, '%'),                           # smoothed, below 0
    (RNG.gamma(2, 50, SIZE).round(), I2, '%'),                        # of a normal
    (RNG.normal(0, 30, SIZE).round(), I2, '%'),                       # a change
    (some([110,120,130], .02)(some(range(101, 110), .2)(WHOLE)), U1, '%'), # saturation with a tail
    (RNG.integers(0, 256, SIZE), U1, ''), (np.minimum(RNG.gamma(2, 60, SIZE), 255).round(), U1, ''), # brightness
    (RNG.uniform(-32767, 32767, SIZE).round()*.002+280, I2|dict(scale_factor=.002, add_offset=280.), 'K'),
    (RNG.normal(0, 2, SIZE)*(RNG.random(SIZE)<.5), F4, 'K'),          # anomalies, many of them 0
    (np.round(RNG.gamma(.3, 400, SIZE)), I2, 'mm'),
])
def test_values_are_not_taken_for_flags(x, enc, units):
    x = np.asarray(x, 'f4'); assert np.array_equal(checked(x, 'v', 'it', dict(units=units), enc), x)

def test_flags_in_a_file(tmp_path):
    t = pd.date_range('2001', periods=40); da = maps(t).copy(data=some([237,250,255])(WHOLE)[:,:3,:4].astype('u1'))
    da.assign_attrs(units='percent').to_netcdf(tmp_path/'s.nc')
    with pytest.raises(DataError, match='times 237 .*--missing 237,250,255'): fields_of(tmp_path/'s.nc')[0].values
    assert np.nanmax(fields_of(tmp_path/'s.nc', missing=[237,250,255])[0].values)<=100

# ---- times

def eight_days(first, last):
    return pd.DatetimeIndex(np.concatenate([pd.date_range(f'{y}-01-01', f'{y}-12-31', freq='8D')
                                            for y in range(first, last+1)]))

@pytest.mark.parametrize('t,then', [
    (eight_days(2019, 2022), '2023-01-01'), (eight_days(2019, 2022)[:-45], '2022-01-09'),
    (pd.date_range('2020-01-01', periods=9).delete(7), '2020-01-10'),
    (pd.date_range('2020', periods=9, freq='MS'), '2020-10-01')])
def test_the_next_map_is_that_of_the_command(t, then):
    d = FieldDesign.from_xarray(maps(t), leads=1, ahead=True); lazy,step = fields_of(maps(t))
    assert str(d.sample_times[-1])[:10] == then == str(windows_of(lazy.time.values, step, 1).times[-1])[:10]

def test_a_daily_and_a_weekly_file(tmp_path):
    day,week = pd.date_range('2001-01-07', periods=210),pd.date_range('2001-01-07', periods=30, freq='7D')
    maps(day, name='rain').to_netcdf(tmp_path/'r.nc'); maps(week, name='t').to_netcdf(tmp_path/'t.nc')
    both = [tmp_path/'r.nc', tmp_path/'t.nc']; y = pd.Series(np.arange(30.)%7, week, name='y')
    for leads in (1, 4):
        with pytest.raises(DataError, match='rain every day, t every 7 days.*average'):
            own_problem(both, y, None, Asked(leads=leads))
    assert len(own_problem(both, y).design) == 30 # of the same times

@pytest.mark.parametrize('week,last', [('2017-W53', 52), ('2020W54', 53), ('2021-W00', 52)])
def test_a_week_that_is_none(week, last):
    weeks = pd.Series([f'2016-W{k:02}' for k in (1, 2, 53-1)]+[week], name='week')
    with pytest.raises(DataError, match=f'{week}: the ISO weeks of .* to W{last}') as e: parse_times(weeks, 't.csv')
    assert 'format' not in str(e.value)
    assert str(parse_times(pd.Series(['2020-W53','2009W01']), 't.csv')[0])[:10] == '2020-12-28'

# ---- gaps

def test_gaps_of_a_design_name_what_it_takes():
    da = maps(pd.date_range('2001', periods=20)); da[3,1,1] = np.nan
    with pytest.raises(DataError, match="missing='conditional' .*design is then made with missing='keep'"):
        FieldDesign.from_xarray(da)

@pytest.mark.parametrize('how', ['climatology','conditional'])
def test_small_gaps_are_filled_by_one_thread(how, monkeypatch):
    da = maps(pd.date_range('2001', periods=60)); da[3:9,1,1] = np.nan; seen,real = [],torch.linalg.inv
    monkeypatch.setattr(torch.linalg, 'inv', lambda *a, **k: (seen.append(torch.get_num_threads()), real(*a, **k))[1])
    with hold_threads(3):
        d = FieldDesign.from_xarray(da, missing='keep', dtype=torch.float64)
        g,_ = learn_gaps(how, d, np.ones(60, bool))
        assert set(seen) == {1} and torch.get_num_threads() == 3
        seen.clear(); g(d); g.variance(d, torch.ones(12, 1)); assert set(seen) == ({1} if how=='conditional' else set())

# ---- a run

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "Two classes that follow the season, in the months from September to January, on maps west of Greenwich."
    d = tmp_path_factory.mktemp('season'); t = pd.date_range('1990-01-01', periods=420, freq='MS')
    da = maps(t, lon=(-72., -70, -68, -66)); rng = np.random.default_rng(3)
    chance = np.where(t.month==11, .85, .15); y = pd.Series(rng.random(len(t))<chance, t, name='flood').astype(int)
    y = y[t.month.isin([9, 10, 11, 12, 1])]
    da[:400].to_netcdf(d/'sst.nc'); da[399:].to_netcdf(d/'new.nc'); y[:'2022'].rename_axis('month').to_csv(d/'y.csv')
    with pytest.MonkeyPatch.context() as m:
        m.setattr('mrtl.runs.report_run', lambda run, figures=None: None)
        assert main(['fields', '--fields', str(d/'sst.nc'), '--target', str(d/'y.csv'), '--kind',
                     'classes', '--method', 'sgd',
                     '--rank', '1', '--out', str(d/'run')]) == 0
    return d

def test_what_is_usual_of_classes_has_their_season(run):
    usual = read_metrics(run/'run')['baselines']['climatology']
    assert usual['test']['auc']>.7 and usual['valid']['auc']>.7

def test_longitudes_stay_as_they_were_written(run, tmp_path):
    with xr.open_dataset(run/'run'/'coefficients.nc') as c: assert c.lon.values.tolist() == [-72, -70, -68, -66]
    east = xr.open_dataset(run/'new.nc').load()
    east = east.assign_coords(lon=east.lon%360)
    east.to_netcdf(tmp_path/'e.nc')
    go = lambda f, out: main(['predict', str(run/'run'), '--fields', str(f), '--out', str(tmp_path/out)])
    assert go(run/'new.nc', 'a.csv') == go(tmp_path/'e.nc', 'b.csv') == 0
    assert (tmp_path/'a.csv').read_text() == (tmp_path/'b.csv').read_text()
    maps(pd.date_range('2001', periods=9), lon=(200., 202, 204, 206)).to_netcdf(tmp_path/'p.nc')
    assert fields_of(tmp_path/'p.nc')[0].lon.values.tolist() == [200, 202, 204, 206]

def test_times_without_a_forecast_are_told(run, tmp_path, capsys):
    assert main(['predict', str(run/'run'), '--fields', str(run/'new.nc'), '--out', str(tmp_path/'p.csv')]) == 0
    said = capsys.readouterr().out; n = len(pd.read_csv(tmp_path/'p.csv'))
    assert 'left out: ' in said and f'left out: {21-n} samples (2023-' in said and 'the run had no target' in said

def test_words_are_told_of_their_order():
    t = pd.date_range('1990', periods=90, freq='MS')
    y = pd.Series(np.array(['GREEN','RED','YELLOW'])[np.arange(90)%3], t, name='alert')
    said = '\n'.join(own_problem(maps(t), y).said)
    assert 'alert (classes, in no order; if GREEN, RED, YELLOW have one' in said and '--order' in said
    assert '--order' not in '\n'.join(own_problem(maps(t), y.where(y!='RED', 'GREEN')).said)
    assert '--order' not in '\n'.join(own_problem(maps(t), y, None, Asked(order=('GREEN','YELLOW','RED'))).said)
