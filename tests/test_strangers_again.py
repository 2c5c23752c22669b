"""What a hydrologist, an epidemiologist and an ecologist stumbled over with maps: targets of one week a year, other
steps, marks of missing values, dates in odd forms, exposures, units at prediction."""
import json, warnings
import numpy as np, pandas as pd, pytest, xarray as xr
from mrtl.cli import main
from mrtl.core import ConfigError, DataError
from mrtl.estimators import MRTLRegressor
from mrtl.own_fields import Asked, own_problem
from mrtl.tabular import parse_times

RNG = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures('no_pictures')

def maps(t, shape=(4,6), seed=0, name='swe'):
    x = np.random.default_rng(seed).normal(size=(len(t), *shape)).cumsum(1).astype('f4')
    return xr.DataArray(x, dict(time=t, lat=np.arange(shape[0])*10.-25, lon=np.arange(shape[1])*10.),
                        ('time','lat','lon'), name, dict(units='mm'))

def told(problem, what): return [s for s in problem.said if what in s]

# ---- a target of one week a year

WEEKS = pd.date_range('1960-01-04', '1999-12-27', freq='7D')
SNOW = maps(WEEKS)
APRIL = WEEKS[(WEEKS.month==4)&(WEEKS.day<=7)]

def volumes(n=None): # the April week's flow from the maps three weeks before
    at = WEEKS.get_indexer(APRIL[:n])
    return pd.Series(400+40*SNOW.values[at-2,1:3,2:4].mean((1,2))+5*RNG.normal(size=len(at)), APRIL[:n], name='volume')

def test_no_season_and_no_forecasts_where_the_target_has_one_week_a_year(tmp_path, capsys):
    y = volumes()
    SNOW[:-260].to_netcdf(tmp_path/'a.nc')
    SNOW[-310:].to_netcdf(tmp_path/'b.nc')
    y[:34].rename_axis('date').to_csv(tmp_path/'y.csv')
    run = tmp_path/'run'
    assert main(['fields', '--fields', str(tmp_path/'a.nc'), '--target', str(tmp_path/'y.csv'), '--leads', '3',
                 '--out', str(run)]) == 0
    assert 'lie within 8 days of the year' in capsys.readouterr().out
    assert main(['predict', str(run), '--fields', str(tmp_path/'b.nc'), '--out', str(tmp_path/'p.csv')]) == 0
    # one or two a year, not fifty
    p = pd.read_csv(tmp_path/'p.csv', parse_dates=['sample'])
    assert set(p['sample'].dt.month) <= {3,4} and 6<=len(p)<=12
    real = volumes().reindex(p['sample'])
    assert abs(p.prediction.values-real.values)[np.isfinite(real)].max()<80, 'not a season that runs away'
    with pytest.raises(ConfigError, match='within 8 days'): own_problem(SNOW, y, None, Asked(leads=3, season='day'))
    bad = SNOW[-310:].copy(); bad = bad.isel(time=slice(-20, None)); bad.to_netcdf(tmp_path/'c.nc')
    assert main(['predict', str(run), '--fields', str(tmp_path/'c.nc'), '--out',
                 str(tmp_path/'q.csv')]) == 2 and "time of the year" in capsys.readouterr().err
    daily = maps(pd.date_range('2001-01-01', periods=120)); daily.to_netcdf(tmp_path/'d.nc')
    assert main(['predict', str(run), '--fields', str(tmp_path/'d.nc'), '--out',
                 str(tmp_path/'q.csv')]) == 2 and 'come every 7 days, the new ones every day' in capsys.readouterr().err

def test_the_season_of_classes_in_one_week_is_nothing():
    y = (volumes()>400).astype(float); assert own_problem(SNOW, y, None, Asked(leads=3)).covariates is None

def test_a_yearly_target_of_monthly_maps(tmp_path):
    t = pd.date_range('1950', '1999-12', freq='MS')
    da = maps(t); year = np.arange(1951, 2000)
    y = 5+da.values[(year-1951)*12+10,1,2]+.1*RNG.normal(size=49)
    pd.DataFrame(dict(year=year, birds=y)).to_csv(tmp_path/'y.csv', index=False)
    p = own_problem(da, tmp_path/'y.csv', ['birds'], Asked(leads=3))
    assert len(p.design)==49 and told(p, 'taken as its 1 January')
    assert sum(map(len, p.rows.values()))==49, 'samples a year apart share no maps'
    u = p.design.u[:,0].numpy(); assert np.corrcoef(u[np.flatnonzero(np.isin(t, p.times))-2,1,2], p.y)[0,1]>.98

def test_targets_between_the_maps_are_told():
    y = pd.Series(RNG.normal(size=40), pd.date_range('1960-04-01', periods=40, freq='12MS')-pd.Timedelta(0), name='v')
    with pytest.raises(DataError, match='of 40 target values have maps of their time, one every 7 days: .* lies '
                       'between the maps of .*merge_asof'):
        own_problem(SNOW, y, None, Asked(leads=3))

# ---- what stands in the table

T = pd.date_range('2000-01-01', periods=200); DUST = maps(T)
def frame(**more): return pd.DataFrame(dict(flow=DUST.values[:,1,2].astype(float).round(3), **more), T)

def test_marks_of_missing_values_in_the_target():
    f = frame(hot=RNG.integers(0, 2, 200)); f.iloc[[3,90],0] = -9999; f.iloc[[5,6,99],1] = 99
    p = own_problem(DUST, f, ['flow'], Asked(covariates=('hot',)))
    assert told(p, 'flow holds 2 times -9999') and told(p, 'hot holds 3 times 99')
    q = own_problem(DUST, f[['flow']], ['flow'], Asked(missing=(-9999.,)))
    assert not told(q, 'unlike') and len(q.design)==198
    assert not told(own_problem(DUST, f[['flow']], ['flow'], Asked(missing=())), 'unlike')
    with pytest.raises(DataError, match=r'-99 in 3 rows: say --missing -99'):
        own_problem(DUST, pd.Series(np.where(np.arange(200)%80==1, -99, 5+np.arange(200)%9), T, name='n'),
                    None, Asked(kind='counts'))

def test_a_target_that_never_changes():
    with pytest.raises(DataError, match='gauge of the target is 7 in all rows'):
        own_problem(DUST, frame(gauge=7.), ['flow','gauge'])

def test_blanks_do_not_make_numbers_of_classes_nor_commas_classes_of_numbers():
    wet = (frame().flow>0).astype(float); wet.iloc[7] = np.nan; assert own_problem(DUST, wet).kind=='classes'
    text = frame().flow.map(lambda v: f'{1000+v:,.1f}' if v>0 else f'{900+v:.1f}'); text.name = 'flow'
    with pytest.raises(DataError, match="must hold numbers; row .* has '1,0"): own_problem(DUST, text)

def test_ordered_words_need_an_order():
    y = pd.Series(np.array(['none','mild','severe'])[pd.qcut(frame().flow, 3, labels=False)], T, name='ill')
    with pytest.raises(ConfigError, match='mild, none, severe do not have: say it, lowest first, like --order'):
        own_problem(DUST, y, None, Asked(kind='ordered'))
    p = own_problem(DUST, y, None, Asked(order=('none','mild','severe')))
    assert p.kind=='ordered' and [str(c)
                                  for c in p.classes]==['none','mild','severe'] and np.corrcoef(p.y,
            frame().flow)[0,1]>.8
    assert own_problem(DUST, pd.Series(y.map(dict(none=0, mild=1, severe=2)).values, T, name='ill'), None,
                       Asked(kind='ordered')).kind=='ordered'

def test_an_exposure_is_of_one_column_of_counts():
    f = frame(n=RNG.poisson(5, 200), k=RNG.poisson(5, 200),
              size=RNG.uniform(1, 2, 200)).drop(columns='flow').astype(float)
    p = own_problem(DUST, f, ['n'], Asked(exposure='size'))
    assert p.kind=='counts', 'also where the counts are written as 29.0'
    with pytest.raises(ConfigError, match='is for counts'): Asked(exposure='size', kind='regression')
    with pytest.raises(ConfigError, match='exposure of one column'):
        own_problem(DUST, f, ['n','k'], Asked(exposure='size'))
    with pytest.raises(ConfigError, match='one role'): own_problem(DUST, f, ['n','size'], Asked(exposure='size'))
    f.iloc[4,2] = np.nan
    with pytest.raises(DataError, match="'size' is empty in row 5 of those that have a target, and in 1 rows"):
        own_problem(DUST, f, ['n'], Asked(exposure='size'))

@pytest.mark.parametrize('form,first', [('%d/%m/%y', '2010-01-04'), ('%G-W%V', '2010-01-04'),
                                        ('%m/%d/%y', '2010-01-04')])
def test_dates_in_odd_forms(form, first):
    weeks = pd.date_range(first, periods=150, freq='7D')
    assert list(parse_times(pd.Series(weeks.strftime(form), name='week'), 'a table'))==list(weeks)

def test_dates_that_cannot_be_told_apart():
    shuffled = pd.date_range('2010-01-04', periods=150,
                             freq='7D').strftime('%d/%m/%y').to_series().sample(frac=1, random_state=0)
    for v in (shuffled, pd.Series(['01/02/10','01/03/10']), pd.Series(['27/12/2021','12/28/2021'])):
        with pytest.raises(DataError, match='like 2000-07-31'): parse_times(v.rename('week'), 'a table')

# ---- several outputs, and what is far from all that was seen

def test_outputs_of_a_run_have_their_names(tmp_path, capsys):
    f = frame()
    f['other'] = DUST.values[:,2,4]+.1*RNG.normal(size=200)
    DUST.to_netcdf(tmp_path/'d.nc')
    f.rename_axis('time').to_csv(tmp_path/'y.csv')
    run = tmp_path/'run'
    assert main(['fields', '--fields', str(tmp_path/'d.nc'), '--target', str(tmp_path/'y.csv'), '--column', 'flow',
                 'other', '--rank', '1', '--out', str(run)]) == 0
    assert '--method evidence does' in capsys.readouterr().out
    for name in ('factors','coefficients'):
        assert xr.open_dataset(run/f'{name}.nc').output.values.tolist()==['flow','other']

@pytest.mark.parametrize('way', ['evidence', 'sgd'])
def test_predictions_far_from_the_training_rows_are_told(way, tmp_path):
    X = DUST.assign_coords(time=T)
    m = MRTLRegressor(method=way, rank=1, max_epochs=20) if way=='sgd' else MRTLRegressor(method=way)
    m.fit(X, frame().flow)
    m.save(tmp_path/'m.mrtl'); m = MRTLRegressor.load(tmp_path/'m.mrtl')
    with warnings.catch_warnings(): warnings.simplefilter('error'); m.predict(X)
    with pytest.warns(UserWarning, match=r'200 of 200 predictions lie far outside.*units'): m.predict(X+273.15)

def test_none_is_a_class_beside_other_words(tmp_path):
    y = pd.Series(np.array(['None','mild','severe'])[pd.qcut(frame().flow, 3, labels=False)], T, name='ill')
    y.iloc[:4] = 'NA'
    y.rename_axis('date').to_csv(tmp_path/'y.csv')
    p = own_problem(DUST, tmp_path/'y.csv', ['ill']); assert p.classes==['None','mild','severe'] and len(p.design)==196
    assert told(p, "'None', which is taken for a name") and told(p, "4 times 'NA', which is taken for a missing value")
    assert own_problem(DUST, tmp_path/'y.csv', ['ill'], Asked(missing=())).classes==['NA','None','mild','severe']
