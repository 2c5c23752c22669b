"""What strangers stumbled over with `mrtl fields`: projected grids in parts, clouds in a forecast, counts with a
season, samples without dates, composites of eight days, tables from a spreadsheet."""
import numpy as np, pandas as pd, pytest, xarray as xr
from mrtl.cli import main
from mrtl.core import ConfigError, DataError
from mrtl.estimators import MRTLRegressor
from mrtl.own import fields_command, filled, own_options
from mrtl.own_data import fields_of
from mrtl.own_fields import Asked, own_problem
from mrtl.runfiles import read_own_prep
from mrtl.tidy import Step, step_of

RNG = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures('no_pictures')

def maps(t, shape=(6,8), dims=('lat','lon'), name='sst', step=10., seed=0, **more):
    "Smooth noise on any map."
    x = np.random.default_rng(seed).normal(size=(len(t), *shape)).cumsum(1).astype('f4')
    return xr.DataArray(x, {'time': t, dims[0]: np.arange(shape[0])*step-25, dims[1]: np.arange(shape[1])*step},
                        ('time',*dims), name, dict(units='K')).assign_coords(**more)

def series(da, name='load'):
    "What follows from a corner of the map."
    return pd.Series(da.values[:,1:3,2:5].mean((1,2))+.1*RNG.normal(size=len(da)), da.indexes['time'], name=name)

# ---- maps in parts

@pytest.mark.parametrize('aux', [True, False])
def test_a_projected_grid_in_a_file_a_year(tmp_path, aux):
    t = pd.date_range('2000-01-01', periods=500)
    da = maps(t, dims=('y','x'), step=25e3, name='t2m')
    more = RNG.normal(size=(2,6,8))
    if aux:
        da = da.assign_coords(latitude=(('y','x'), more[0]), longitude=(('y','x'), more[1]), height=2.,
                              day=('time', np.arange(500)))
    for k,g in da.groupby('time.year'): g.to_netcdf(tmp_path/f'{k}.nc')
    p = own_problem(tmp_path, series(da))
    np.testing.assert_array_equal(p.design.grid.x_centres, da.x)
    assert len(p.design) == 500
    # in memory likewise
    np.testing.assert_array_equal(own_problem(da, series(da), None).design.u, p.design.u)
    da[:3].isel(x=slice(0, 7)).assign_coords(time=t[:3]+pd.Timedelta(9999, 'D')).to_netcdf(tmp_path/'2030.nc')
    with pytest.raises(DataError, match='one map in some files'): own_problem(tmp_path, series(da))

# ---- clouds

@pytest.mark.parametrize('gaps', ['climatology', 'conditional'])
def test_a_forecast_from_cloudy_maps(tmp_path, capsys, gaps):
    # cloudy in all maps of the forecast
    t = pd.date_range('1990-01-01', periods=120, freq='MS')
    da = maps(t)
    y = series(da, 'flow').shift(1)[1:]
    cloudy = da.where(RNG.random(da.shape)>.1)
    cloudy[-2:,0,:3] = np.nan
    cloudy[:-2].to_netcdf(tmp_path/'sst.nc')
    cloudy[-2:].to_netcdf(tmp_path/'last.nc')
    y[:-1].rename_axis('month').to_csv(tmp_path/'y.csv')
    run = tmp_path/'run'
    assert main(['fields', '--fields', str(tmp_path/'sst.nc'), '--target', str(tmp_path/'y.csv'), '--leads', '2',
                 '--gaps', gaps, '--out', str(run)]) == 0
    said = capsys.readouterr().out; assert 'with gaps' in said and 'filled by' in said
    assert (MRTLRegressor.load(run/'model.mrtl')._gaps is not None) == (gaps=='conditional')
    go = lambda: main(['predict', str(run), '--fields', str(tmp_path/'last.nc'), '--out', str(tmp_path/'p.csv')])
    assert go() == 0
    p = pd.read_csv(tmp_path/'p.csv')
    assert p['sample'].tolist() == ['2000-01'] and np.isfinite(p.prediction).all()
    whole = xr.where(cloudy[-2:].isnull(), da[-2:], cloudy[-2:])
    assert abs(p.prediction[0]-float(series(whole).iloc[-1]))<4*y.std()
    # coordinates tell
    da[-2:,1:].to_netcdf(tmp_path/'last.nc', mode='w'); assert go() == 2 and 'do not cover' in capsys.readouterr().err

def test_rivals_get_maps_that_are_filled():
    t = pd.date_range('1990-01-01', periods=150, freq='MS')
    da = maps(t)
    p = own_problem(da.where(RNG.random(da.shape)>.1), series(da), None, Asked(gaps='conditional'))
    assert p.design.u.isnan().any() and own_options(p)['missing'] == 'conditional'; q = filled(p)
    assert q.design.u.isfinite().all() and p.design.u.nan_to_num(0).ne(q.design.u).any()

# ---- the season of counts

def counts(n=600, seed=1):
    t = pd.date_range('2000-01-01', periods=n, freq='2D')
    da = maps(t, (4,6)); s = series(da)
    w = 2*np.pi*t.day_of_year.values/365.25
    trend = np.arange(n)/n
    return da,pd.DataFrame(dict(cases=np.random.default_rng(seed).poisson(np.exp(1+.5*s/s.std()+.8*np.cos(w)
            +.3*np.sin(2*w)+.5*trend)).astype(float), trend=trend), t)

def test_counts_have_their_season_beside_the_map():
    da,table = counts(); p = own_problem(da, table, ['cases'], Asked(kind='counts', covariates=('trend',)))
    assert list(p.covariates) == ['trend','season_cos1','season_sin1','season_cos2','season_sin2','season_cos3',
                                  'season_sin3'] and any('learnt beside the map' in s for s in p.said)
    none = own_problem(da, table, ['cases'], Asked(kind='counts', covariates=('trend',), season='none'))
    assert list(none.covariates) == ['trend']
    r2,trend = {},{}
    for k,q in dict(own=p, none=none).items():
        m = q.fit(q.estimator(method='evidence', rank=1))
        r2[k] = q.scores(q.predicted(m))['test']['r2']
        z = m.covariates_
        trend[k] = abs(float(z.coef[0])-.5)/float(z['std'][0])
    assert r2['own']>r2['none']+.1 and trend['own']<3

def test_own_harmonics_are_not_doubled():
    da,table = counts(); w = 2*np.pi*(table.index.day_of_year.values-1)/365.2425
    p = own_problem(da, table.assign(c=np.cos(w), s=np.sin(w)), ['cases'], Asked(kind='counts', covariates=('c','s')))
    assert 'season_cos1' not in p.covariates and 'season_cos2' in p.covariates

def test_a_forecast_of_counts_needs_no_table(tmp_path):
    da,table = counts(500); da.to_netcdf(tmp_path/'a.nc')
    da[-3:].to_netcdf(tmp_path/'b.nc')
    table[['cases']].rename_axis('date').to_csv(tmp_path/'y.csv')
    run = tmp_path/'run'
    assert main(['fields', '--fields', str(tmp_path/'a.nc'), '--target', str(tmp_path/'y.csv'), '--kind', 'counts',
                 '--leads', '1', '--rank', '1', '--method', 'sgd', '--out', str(run)]) == 0
    assert main(['predict', str(run), '--fields', str(tmp_path/'b.nc'), '--out', str(tmp_path/'p.csv')]) == 0
    assert len(pd.read_csv(tmp_path/'p.csv')) == 3

def test_a_class_that_only_one_season_has():
    "Harmonics can tell such classes apart without error; the fit stays finite."
    t = pd.date_range('1990-01-01', periods=240, freq='MS')
    p = own_problem(maps(t, (4,6)), pd.Series(np.where(t.month.isin([6,7,8]), 'wet', 'dry'), t, name='state'))
    q = p.predicted(p.fit(p.estimator(method='evidence')))
    assert np.isfinite(q).all() and p.scores(q)['test']['auc']>.95

# ---- samples without dates

@pytest.fixture(scope='module')
def trials(tmp_path_factory):
    d = tmp_path_factory.mktemp('trials')
    x = RNG.normal(size=(180, 6, 8)).cumsum(1).astype('f4')
    ids = np.arange(1001, 1181)
    xr.DataArray(x[:170], dict(trial=ids[:170]), ('trial','row','col'), 'cortex').to_netcdf(d/'cortex.nc')
    xr.DataArray(x[165:], dict(trial=ids[165:]), ('trial','row','col'), 'cortex').to_netcdf(d/'new.nc')
    t = pd.DataFrame(dict(trial=ids, rt_ms=500+50*x[:,2,3]+5*RNG.normal(size=180),
                          subject=[f's{k//15}' for k in range(180)])).sample(frac=1, random_state=0)
    t.to_csv(d/'trials.csv', index=False)
    return d

def flat(d, out, *more):
    return ['fields', '--fields', str(d/'cortex.nc'), '--target', str(d/'trials.csv'), '--column', 'rt_ms',
            '--out', str(out), *more]

def test_samples_are_matched_by_name(trials, tmp_path, capsys):
    run = tmp_path/'run'
    assert main(flat(trials, run, '--time', 'trial', '--groups', 'subject', '--rank', '1')) == 0
    said = capsys.readouterr().out
    assert ('in whole groups (subject, 12 of them)' in said and '10 target values without fields' in said
            and 'season' not in said)
    p = pd.read_csv(run/'predictions.csv', dtype={'sample': str}).set_index('sample')
    truth = pd.read_csv(trials/'trials.csv', dtype={'trial': str}).set_index('trial').rt_ms
    np.testing.assert_allclose(p.truth, truth[p.index]); assert np.corrcoef(p.prediction, p.truth)[0,1]>.8
    assert main(['predict', str(run), '--fields', str(trials/'new.nc'), '--target', str(trials/'trials.csv'),
                 '--out', str(tmp_path/'p.csv')]) == 0
    q = pd.read_csv(tmp_path/'p.csv')
    assert len(q) == 15 and q.set.value_counts().to_dict() == dict(seen=5,
            new=10) and np.corrcoef(q.prediction, q.truth)[0,1]>.8

@pytest.mark.parametrize('more,says', [((), '--time trial'), (('--time', 'trial', '--leads', '2'), '--leads 2'),
                                       (('--time', 'trial', '--season', 'day'), '--season day')])
def test_samples_without_dates_refused(trials, tmp_path, capsys, more, says):
    assert main(flat(trials, tmp_path/'run', *more)) == 2; assert says in capsys.readouterr().err

def test_names_that_do_not_meet(trials, tmp_path, capsys):
    t = pd.read_csv(trials/'trials.csv')
    pd.concat([t, t[:1]]).to_csv(tmp_path/'trials.csv', index=False)
    (tmp_path/'cortex.nc').write_bytes((trials/'cortex.nc').read_bytes())
    assert main(flat(tmp_path, tmp_path/'run', '--time', 'trial')) == 2
    assert '2 rows for the trial' in capsys.readouterr().err
    t.assign(trial=t.trial+5000).to_csv(tmp_path/'trials.csv', index=False)
    assert main(flat(tmp_path, tmp_path/'run', '--time', 'trial')) == 2
    assert 'called like 1001' in capsys.readouterr().err
    p = own_problem(trials/'cortex.nc', trials/'trials.csv', ['rt_ms'], Asked(time='trial'))
    assert sum(map(len, p.rows.values())) == 170 and 'drawn at random' in p.said[-1]

# ---- composites

EIGHT = pd.DatetimeIndex(np.concatenate([pd.date_range(f'{y}-01-01', f'{y}-12-31', freq='8D')
                                         for y in range(2005, 2015)]))

def test_composites_begin_anew_each_year(tmp_path, capsys):
    step = step_of(EIGHT.values)
    assert (step.yearly and str(step.later(EIGHT.values[-1]))[:10] == '2015-01-01'
            and not step_of(EIGHT.values[:40]).yearly)
    da = maps(EIGHT[:184]); y = series(da).shift(1)[1:]
    da.to_netcdf(tmp_path/'a.nc')
    da[-2:].to_netcdf(tmp_path/'b.nc')
    y.rename_axis('date').to_csv(tmp_path/'y.csv')
    run = tmp_path/'run'
    fields_command([str(tmp_path/'a.nc')], str(tmp_path/'y.csv'), leads=2, rank=1, season='none', out=str(run))
    assert read_own_prep(run).meta['yearly'] is True
    assert main(['predict', str(run), '--fields', str(tmp_path/'b.nc'), '--out',
                 str(tmp_path/'p.csv')]) == 0 and 'forecast of 2009-01-01 from' in capsys.readouterr().out

def test_a_target_that_comes_more_often_than_the_maps():
    da = maps(EIGHT)
    days = pd.date_range('2005-01-01', '2014-12-31')
    y = pd.Series(RNG.normal(size=len(days)), days, name='pm')
    said = own_problem(da, y).said
    told = next(s for s in said if s.startswith('attention'))
    assert (f'{len(days)-len(EIGHT):,} of {len(days):,} target values' in told and 'every 8 days' in told
            and 'average the target over each interval' in told)
    assert not any(s.startswith('attention') for s in own_problem(da, y[EIGHT]).said)
    with pytest.raises(DataError, match='lies 4 days after a time of the fields'):
        own_problem(da, pd.Series(np.arange(len(EIGHT)-1.), EIGHT[:-1]+pd.Timedelta(4, 'D'), name='pm'))

# ---- tables

def test_a_table_of_covariates_to_come(tmp_path, capsys):
    t = pd.date_range('1990-01-01', periods=150, freq='MS')
    da = maps(t)
    y = pd.DataFrame(dict(flow=series(da), rain=RNG.normal(size=150))).rename_axis('month')
    da[:-1].to_netcdf(tmp_path/'a.nc')
    da[-1:].to_netcdf(tmp_path/'b.nc'); y[:-1].to_csv(tmp_path/'y.csv')
    run = tmp_path/'run'
    ask = ['fields', '--fields', str(tmp_path/'a.nc'), '--target', str(tmp_path/'y.csv'), '--column', 'flow',
           '--covariates', 'rain', '--rank', '1', '--out', str(run)]
    assert main([*ask, '--dry-run']) == 0
    plan = capsys.readouterr().out
    assert main(ask) == 0; said = capsys.readouterr().out
    for s in ('covariates: rain (numbers)', 'dates: column month, where 2002-05-01 is 2002-05-01',
              'method evidence, rank 1', 'no two samples share a map', 'scores: R2 is about'):
        assert s in plan and s in said
    hole = y[:-1].copy(); hole.iloc[7, 1] = np.nan
    hole.to_csv(tmp_path/'hole.csv')
    assert main([str(tmp_path/'hole.csv') if a.endswith('y.csv') else a for a in ask]
                +['--dry-run']) == 2 and 'rain is NaN' in capsys.readouterr().err
    y[['rain']][-1:].to_csv(tmp_path/'future.csv')
    assert main(['predict', str(run), '--fields', str(tmp_path/'b.nc'), '--target', str(tmp_path/'future.csv'),
                 '--out', str(tmp_path/'p.csv')]) == 0
    assert ('has no column flow' in capsys.readouterr().out
            and pd.read_csv(tmp_path/'p.csv').set.tolist() == ['forecast'])

@pytest.mark.parametrize('encoding', ['cp1252', 'utf-16', 'utf-8-sig'])
def test_a_table_as_a_spreadsheet_saves_it(tmp_path, encoding, recwarn):
    t = pd.date_range('1990-01-01', periods=150, freq='MS'); da = maps(t); s = series(da, 'débit')
    (tmp_path/'y.csv').write_bytes(s.rename_axis('date').to_csv(sep=';', decimal=',').encode(encoding))
    p = own_problem(da, tmp_path/'y.csv', ['débit'])
    np.testing.assert_allclose(p.y+p.base, s)
    assert any('UTF-8' in str(w.message) for w in recwarn) == (encoding=='cp1252')

# ---- stations

@pytest.mark.parametrize('kind', ['nc', 'csv'])
def test_stations_from_files(tmp_path, capsys, kind):
    n,S = 160,24
    t = pd.date_range('2005-01-01', periods=n, freq='MS')
    r = np.random.default_rng(2)
    at = dict(lat=('station', 50+4*r.random(S)), lon=('station', 5+4*r.random(S)))
    near = np.exp(-((at['lat'][1][:,None]-at['lat'][1])**2+(at['lon'][1][:,None]-at['lon'][1])**2)/4)
    v = r.normal(size=(n, S))@near
    pm = xr.DataArray(v, dict(time=t, station=[f'st{i}' for i in range(S)])|at, ('time','station'),
                      'pm', dict(units='ug m-3'))
    pd.DataFrame(dict(date=t, sick=v[:,:6].mean(1)+.1*r.normal(size=n)))[:-1].to_csv(tmp_path/'y.csv', index=False)
    run = tmp_path/'run'
    def write(da, name):
        if kind=='nc': da.to_netcdf(tmp_path/f'{name}.nc')
        else: da.to_dataframe().reset_index().to_csv(tmp_path/f'{name}.csv', index=False)
        return str(tmp_path/f'{name}.{kind}')
    assert main(['fields', '--fields', write(pm[:-1], 'a'), '--target', str(tmp_path/'y.csv'), '--season', 'none',
                 '--rank', '1', '--out', str(run)]) == 0 and 'pm at 24 stations' in capsys.readouterr().out
    p = pd.read_csv(run/'predictions.csv'); p = p[p.set=='test']; assert np.corrcoef(p.prediction, p.truth)[0,1]>.8
    go = lambda f: main(['predict', str(run), '--fields', f, '--out', str(tmp_path/'p.csv')])
    # another order of stations
    assert go(write(pm[-2:,::-1], 'b')) == 0
    q = pd.read_csv(tmp_path/'p.csv')
    assert q.set.tolist() == ['seen','forecast'] and abs(q.prediction[1]-v[-1,:6].mean())<3*p.truth.std()
    assert go(write(pm[-2:].assign_coords(station=[f'x{i}' for i in range(S)]),
                    'c')) == 2 and 'stations that are not known' in capsys.readouterr().err
    assert go(write(pm[-2:,1:], 'd')) == 2 and 'mrtl fields --gaps' in capsys.readouterr().err
