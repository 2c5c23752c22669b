"""Grids of cases for `mrtl.climate.prepare`: rain regions, preparation, splits, and problems in which nothing may
leak, on small made-up data."""
import json
import cftime, numpy as np, pytest, torch, xarray as xr
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from mrtl.climate.prepare import LADDER, ClimatePrep, climate_problem, lead_rows, moving_sum
from mrtl.splits import block_split
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.estimators import MRTLRegressor
from mrtl.climate.fields import common_grid
from mrtl.climate.rain import rain_target
from mrtl.climate.model import baselines

SETS = 'train', 'valid', 'test'

def months(n, start='1950-01'): return (np.datetime64(start, 'M')+np.arange(n)).astype('datetime64[ns]')

def make_ocean(n=480, h=4, w=6, variables=('sst', 'slp'), seed=0, land=(), lat0=-10., lon0=195.):
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(n, len(variables), h, w)).cumsum(0)*.05 + rng.normal(size=(n, len(variables), h,
            w)) + 5*np.cos(2*np.pi*np.arange(n)/12)[:, None, None, None]
    for i,j in land: v[:, 0, i, j] = np.nan
    return xr.DataArray(v, dict(time=months(n), variable=list(variables), lat=lat0+5*np.arange(h),
                                lon=lon0+10*np.arange(w)), ('time', 'variable', 'lat', 'lon'))

def make_rain(n=480, start='1950-01', seed=1):
    rng = np.random.default_rng(seed)
    where = dict(division=['0201', '0202', '1301', '1302', '2001'],
                 state=('division', ['AZ', 'AZ', 'IA', 'IA', 'MI']),
                 census_midwest=('division', np.array([0, 0, 1, 1, 1], 'int8')))
    return xr.DataArray(rng.gamma(2., size=(5, n)), dict(where, time=months(n, start)), ('division', 'time'),
                        'precip', dict(units='inch/month'))

# ---- rain

@pytest.mark.parametrize('region,which', [('midwest', [2, 3, 4]), ('all', range(5)), ('AZ', [0, 1]),
                                          ('AZ,MI', [0, 1, 4]), ('0202', [1]), ('0202, IA', [1, 2, 3]),
                                          ('AZ,0201', [0, 1]), ('midwest,AZ', range(5))])
@pytest.mark.parametrize('by', [None, 'division'])
@pytest.mark.parametrize('as_file', [False, True])
def test_regions(tmp_path, region, which, by, as_file):
    rain = make_rain(24); source = rain
    if as_file: source = tmp_path/'rain.nc'; rain.reset_coords(['state', 'census_midwest']).to_netcdf(source)
    got = rain_target(source, region, by); v = rain.values[list(which)]
    assert got.dims == (('time',) if by is None else ('time', 'output')) and (got.time.values == rain.time.values).all()
    np.testing.assert_allclose(got, v.mean(0) if by is None else v.T)
    if by: assert list(got.output.values) == list(rain.division.values[list(which)])

def test_rain_refusals(tmp_path):
    rain = make_rain(24)
    with pytest.raises(DataError, match="'TX'.*AZ, IA, MI"): rain_target(rain, 'AZ,TX')
    with pytest.raises(DataError, match='census_midwest'): rain_target(rain.drop_vars('census_midwest'), 'midwest')
    with pytest.raises(ConfigError, match='by must be'): rain_target(rain, 'AZ', by='region')
    with pytest.raises(DataError, match='1950-02'): rain_target(rain.isel(time=[0, 1, 1]), 'AZ')
    rain.rename(division='place').to_netcdf(tmp_path/'a.nc')
    with pytest.raises(DataError, match='division, time'): rain_target(tmp_path/'a.nc')
    whole = (rain.to_netcdf(tmp_path/'b.nc'), (tmp_path/'b.nc').read_bytes())[1]
    (tmp_path/'b.nc').write_bytes(whole[:len(whole)//2])
    with pytest.raises(FormatError, match='b.nc'): rain_target(tmp_path/'b.nc')

def test_rain_in_another_calendar_and_order():
    rain = make_rain(24)
    other = rain.assign_coords(time=[cftime.DatetimeNoLeap(t.year, t.month, 16) for t in rain.indexes['time']])
    np.testing.assert_array_equal(rain_target(other[:, ::-1].transpose('time', 'division'), 'AZ'),
                                  rain_target(rain, 'AZ'))

def test_rain_missing_divisions():
    rain = make_rain(24); rain[0, 3] = np.nan; rain[:2, 5] = np.nan
    got = rain_target(rain, 'AZ')
    assert got[3] == rain[1, 3] and np.isnan(got[5]) and np.isfinite(got.values[6:]).all()

@pytest.mark.parametrize('window', [1, 2, 3, 12])
def test_moving_sums(window):
    y = rain_target(make_rain(40), 'all', by='division'); got = moving_sum(y, window)
    for t in range(41-window): np.testing.assert_allclose(got[t], y.values[t:t+window].sum(0))
    assert got[41-window:].isnull().all()

@pytest.mark.parametrize('window', [0, -1, 1.5])
def test_window_refused(window):
    with pytest.raises(ConfigError, match='whole number of months'):
        moving_sum(rain_target(make_rain(24), 'AZ'), window)

# ---- preparation

def holes(x, kind):
    x = x.copy()
    if kind in ('land', 'both'): x[:, 0, 1, 2] = np.nan
    if kind in ('gaps', 'both'): x[5, 0, 2, 2] = x[17, 1, 0, 0] = np.nan
    return x

@pytest.mark.parametrize('detrend', [None, 'linear', 'difference'])
@pytest.mark.parametrize('scale', [False, True])
@pytest.mark.parametrize('kind', ['whole', 'land', 'gaps', 'both'])
@pytest.mark.parametrize('train', ['all', 'blocks', 'scattered'])
def test_fields_come_back(detrend, scale, kind, train):
    x = holes(make_ocean(120), kind)
    pick = dict(all=None, blocks=np.r_[3:50, 80:110], scattered=np.random.default_rng(0).permutation(120)[:70])[train]
    prep = ClimatePrep(detrend, scale).fit(x, None if pick is None else np.sort(pick))
    z = prep.transform(x); back = prep.inverse_transform(z)
    assert z.dims == x.dims and back.dims == x.dims
    if detrend != 'difference': np.testing.assert_array_equal(z.isnull(), x.isnull())
    known = z.notnull() if detrend != 'difference' else back.notnull()
    np.testing.assert_allclose(back.where(known), x.where(known), atol=1e-10)
    assert known.sum() > (.95 if detrend == 'difference' else .9999)*x.notnull().sum(), 'with differences a missing month ends a cell, and nothing else'

@pytest.mark.parametrize('detrend', [None, 'linear', 'difference'])
@pytest.mark.parametrize('outputs', [0, 3])
def test_series_come_back(detrend, outputs):
    y = rain_target(make_rain(90), '0201,IA', by='division' if outputs else None)
    prep = ClimatePrep(detrend).fit(y, np.arange(60)); z = prep.transform(y)
    assert prep.state_.scale.shape == ((3,) if outputs else ())
    np.testing.assert_allclose(prep.inverse_transform(z), y, atol=1e-12)
    if detrend is None: np.testing.assert_allclose((z[:60]**2).mean('time'), 1.)

@pytest.mark.parametrize('kind', ['whole', 'gaps', 'land'])
def test_season_and_line_equal_least_squares(kind):
    x = holes(make_ocean(100), kind); train = np.r_[2:45, 60:95]
    prep = ClimatePrep('linear', scale=False).fit(x, train); z = prep.transform(x)
    month = np.arange(100)%12; A = np.c_[np.eye(12)[month], np.arange(100)/12]
    for v,i,j in ((0, 0, 0), (0, 2, 2), (1, 0, 0), (1, 3, 5), (0, 1, 2)):
        y = x.values[:, v, i, j]; use = [t for t in train if np.isfinite(y[t])]
        if not use: assert z[:, v, i, j].isnull().all(); continue
        coef = np.linalg.lstsq(A[use], y[use], rcond=None)[0]
        np.testing.assert_allclose(z[:, v, i, j], y-A@coef, atol=1e-9)

def test_climatology_is_the_monthly_mean_and_scale_the_area_weighted_spread():
    x = make_ocean(96, lat0=20.); train = np.arange(7, 80); prep = ClimatePrep().fit(x, train); v = x.values
    for m in range(12):
        np.testing.assert_allclose(prep.state_.climatology.sel(month=m+1), v[train][train%12 == m].mean(0))
    a = v[train]-prep.state_.climatology.values[train%12]; w = np.cos(np.deg2rad(x.lat.values))[:, None]*np.ones(6)
    np.testing.assert_allclose(prep.state_.scale, np.sqrt((a**2*w).sum((0, 2, 3))/(w.sum()*len(train))))
    np.testing.assert_allclose(prep.transform(x)[train], a/prep.state_.scale.values[:, None, None])

def test_differences():
    x = make_ocean(60)
    prep = ClimatePrep('difference', scale=False).fit(x, np.r_[0:20, 30:50])
    clim = ClimatePrep(scale=False).fit(x, np.r_[0:20, 30:50])
    a = clim.transform(x).values
    np.testing.assert_allclose(prep.transform(x)[1:], a[1:]-a[:-1], atol=1e-12)
    np.testing.assert_allclose(prep.transform(x)[0], a[0])
    d = (a[1:]-a[:-1])[np.r_[0:19, 30:49]]; w = np.cos(np.deg2rad(x.lat.values))[:, None]*np.ones(6)
    np.testing.assert_allclose(ClimatePrep('difference').fit(x, np.r_[0:20, 30:50]).state_.scale,
                               np.sqrt((d**2*w).sum((0, 2, 3))/(w.sum()*len(d))))
    with pytest.raises(DataError, match='1950-03 is missing'): prep.transform(x[[0, 1, 3]])

def test_constant_data_stay_finite():
    x = xr.zeros_like(make_ocean(48))+4.
    for detrend in (None, 'linear', 'difference'):
        assert (abs(ClimatePrep(detrend).fit(x).transform(x)) < 1e-9).values[1:].all()

@pytest.mark.parametrize('detrend', [None, 'linear', 'difference'])
@pytest.mark.parametrize('kind', ['fields', 'series', 'outputs'])
def test_state_round_trip(detrend, kind):
    x = dict(fields=make_ocean(60, land=[(1, 1)]), series=rain_target(make_rain(60), 'AZ'),
             outputs=rain_target(make_rain(60), 'IA', by='division'))[kind]
    prep = ClimatePrep(detrend).fit(x, np.arange(40)); d = prep.to_dict()
    again = ClimatePrep.from_dict(json.loads(json.dumps(dict(config=d['config'],
            arrays={k: np.asarray(v).tolist() for k,v in d['arrays'].items()}))))
    np.testing.assert_array_equal(again.transform(x), prep.transform(x))
    np.testing.assert_array_equal(again.inverse_transform(x), prep.inverse_transform(x))

def test_preparation_refusals():
    x = make_ocean(60); prep = ClimatePrep().fit(x, np.arange(40))
    with pytest.raises(ConfigError, match='detrend must be'): ClimatePrep('quadratic')
    with pytest.raises(DataError, match='call `fit`'): ClimatePrep().transform(x)
    with pytest.raises(DataError, match='no training month'): ClimatePrep().fit(x, np.zeros(60, bool))
    with pytest.raises(DataError, match='calendar month 4'): ClimatePrep().fit(x[:3]).transform(x)
    with pytest.raises(DataError, match='two training years'): ClimatePrep('linear').fit(x[:12])
    with pytest.raises(DataError, match='lat must be that of the training data, 4 from -10.0 to 5.0; got 3'):
        prep.transform(x[:, :, :3])
    with pytest.raises(DataError, match='lat'): prep.transform(x.assign_coords(lat=x.lat+2.5))
    with pytest.raises(DataError, match='variable'): prep.transform(x.assign_coords(variable=['so', 'slp']))
    np.testing.assert_array_equal(prep.transform(x.assign_coords(lat=x.lat+1e-9)), prep.transform(x))

# ---- splits

def used(rows, leads, window, lag=0): return {int(t)+k for t in rows for k in range(-leads-lag, window)}

@pytest.mark.parametrize('n,block', [(1249, 37), (480, 37), (480, 25), (300, 12), (200, 5), (100, 20), (99, 1)])
@pytest.mark.parametrize('leads,window', [(6, 1), (6, 3), (1, 1), (3, 12)])
def test_no_month_serves_two_sets(n, block, leads, window):
    gap = leads+window-1; done = 0
    for seed in range(10):
        try: s = block_split(n, block, gap, seed=seed)
        except DataError: assert block <= gap; continue
        sets = [used(s[k], leads, window) for k in SETS]; done += 1
        assert not (sets[0]&sets[1] or sets[0]&sets[2] or sets[1]&sets[2])
        kept = np.concatenate([s[k] for k in SETS]); assert len(set(kept)) == len(kept) == n-s['lost']
    assert done or block <= gap

@pytest.mark.parametrize('seed', range(5))
def test_first_months_of_a_block_are_dropped_where_its_neighbour_differs(seed):
    s = block_split(1249, 37, 6, seed=seed); of = s['block']; first = np.arange(1249)//37*37
    drop = (np.arange(1249)-first < 6)&(first > 0)&(of[first-1] != of)
    assert s['lost'] == drop.sum()
    for k,name in enumerate(SETS): np.testing.assert_array_equal(s[name], np.flatnonzero((of == k)&~drop))

def test_split_is_seeded_and_in_proportion():
    s = [block_split(1249, 37, 6, seed=k) for k in (0, 0, 1)]
    assert (s[0]['block'] == s[1]['block']).all() and (s[0]['block'] != s[2]['block']).any()
    assert [len(set(np.flatnonzero(s[0]['block'] == k)//37)) for k in range(3)] == [20, 7, 7]
    assert (block_split(months(480))['block'] == block_split(480)['block']).all()

@pytest.mark.parametrize('kw', [dict(block=0), dict(gap=-1), dict(fractions=(.6, .4)), dict(fractions=(.6, .3, .3)),
                                dict(fractions=(1., 0., 0.))])
def test_split_options_refused(kw):
    with pytest.raises(ConfigError, match='a split needs'): block_split(480, **kw)

@pytest.mark.parametrize('n,block,gap', [(60, 37, 6), (480, 5, 30), (0, 37, 6)])
def test_split_without_rows_refused(n, block, gap):
    with pytest.raises(DataError, match='leave no row for'): block_split(n, block, gap)

# ---- problems

CASES = [dict(region='AZ', leads=3), dict(region='AZ,MI', leads=6, window=3, start_months=[11, 12, 1]),
         dict(region='midwest', by='division', leads=2, window=2),
         dict(region='IA', leads=4, detrend='difference', block=20),
         dict(region='all', leads=1, detrend=None, split_seed=3)]

@pytest.mark.parametrize('kw', CASES)
def test_rows_are_what_slicing_by_hand_gives(kw):
    ocean,rain = make_ocean(land=[(0, 0)]),make_rain()
    p = climate_problem(ocean, rain, dtype=torch.float64, **kw)
    L,w = kw['leads'],kw.get('window', 1)
    z = p.prep_x.transform(ocean).values; target = moving_sum(rain_target(rain, kw['region'], kw.get('by')), w)
    index = {t: i for i,t in enumerate(ocean.time.values)}; share = p.design.grid.share.numpy()
    assert len(p.design) == len(p.y) == len(p.times) == sum(map(len, p.rows.values())) and not p.design.grid.mask[0, 0]
    for r in range(0, len(p.times), 7):
        t = index[p.times[r]]
        np.testing.assert_allclose(p.design.batch(torch.tensor([r])).x[0],
                                   np.nan_to_num(z[t-L:t][::-1]*share).reshape(L, 2, -1), atol=1e-15)
    np.testing.assert_allclose(p.prep_y.inverse_transform(p.y), target.sel(time=p.times), rtol=1e-12)
    if kw.get('start_months'): assert set(p.times.astype('M8[M]').astype(int)%12+1) == set(kw['start_months'])

@pytest.mark.parametrize('kw', CASES)
@pytest.mark.parametrize('seed', [0, 1])
def test_nothing_is_learnt_from_validation_or_test(kw, seed):
    kw = dict(kw, split_seed=seed)
    ocean,rain = make_ocean(),make_rain().drop_attrs()
    p = climate_problem(ocean, rain, **kw)
    L,w,lag = kw['leads'],kw.get('window', 1),int(kw.get('detrend') == 'difference')
    index = {t: i for i,t in enumerate(ocean.time.values)}
    at = {k: [index[t] for t in p.times[v]] for k,v in p.rows.items()}
    xs,ys = ({k: used(v, *reach) for k,v in at.items()} for reach in ((L+lag, 0), (0, w)))
    whole = {k: xs[k]|ys[k] for k in SETS}
    assert not (whole['train']&whole['valid'] or whole['train']&whole['test'] or whole['valid']&whole['test'])
    for spare in (['train', 'valid'], ['train']):
        changed = [k for k in SETS if k not in spare]; bad_ocean,bad_rain = ocean.copy(),rain.copy()
        bad_ocean[sorted(set().union(*(xs[k] for k in changed)))] += 1e3
        bad_rain[:, sorted(set().union(*(ys[k] for k in changed)))] += 1e3
        q = climate_problem(bad_ocean, bad_rain, **kw)
        for a,b in ((p.prep_x, q.prep_x), (p.prep_y, q.prep_y)): xr.testing.assert_identical(a.state_, b.state_)
        for k in spare:
            i = torch.from_numpy(p.rows[k])
            assert torch.equal(p.design.batch(i).x, q.design.batch(i).x)
            np.testing.assert_array_equal(p.y[p.rows[k]], q.y[p.rows[k]])
        if 'valid' in spare:
            a,b = baselines(p),baselines(q)
            for k in a:
                np.testing.assert_allclose(a[k]['valid']['mse'], b[k]['valid']['mse'], rtol=1e-7)
                assert a[k].get('eofs') == b[k].get('eofs') and np.isclose(a[k].get('alpha', 0),
                        b[k].get('alpha', 0), rtol=1e-9)

@pytest.mark.parametrize('how', ['poisoned', 'shuffled'])
@pytest.mark.parametrize('kw', [dict(region='AZ', leads=3), dict(region='all', by='division', leads=2, window=2),
                                dict(region='IA', leads=2, detrend='difference', block=20)])
def test_a_trained_model_does_not_know_the_test_months(kw, how):
    """Bit for bit: weights, history and scores on validation rows, whatever stands in the months that only the test
    looks at."""
    ocean,rain = make_ocean(),make_rain().drop_attrs()
    p = climate_problem(ocean, rain, **kw)
    L,w,lag = kw['leads'],kw.get('window', 1),int(kw.get('detrend') == 'difference')
    index = {t: i for i,t in enumerate(ocean.time.values)}
    test = [index[t] for t in p.times[p.rows['test']]]
    xs,ys = sorted(used(test, L+lag, 0)),sorted(used(test, 0, w))
    bad_ocean,bad_rain,rng = ocean.copy(),rain.copy(),np.random.default_rng(0)
    bad_ocean[xs] = rng.normal(1e4, 1e3,
                               (len(xs), *ocean.shape[1:])) if how == 'poisoned' else ocean[rng.permutation(xs)].values
    bad_rain[:, ys] = 1e4 if how == 'poisoned' else rain[:, rng.permutation(ys)].values
    q = climate_problem(bad_ocean, bad_rain, **kw); assert not torch.equal(p.design.u, q.design.u)
    for standardise in (True, False):
        a,b = (MRTLRegressor(rank=2, max_epochs=4, standardise=standardise,
                             random_state=0).fit(r.design.take(r.rows['train']), r.y[r.rows['train']],
                                                 valid=(r.design.take(r.rows['valid']), r.y[r.rows['valid']]))
               for r in (p, q))
        for k,v in a.fitted_.scorer.state_dict().items(): assert torch.equal(v, b.fitted_.scorer.state_dict()[k]), k
        assert a.history_.drop(columns='seconds').equals(b.history_.drop(columns='seconds'))

def test_own_standardisation_would_be_seen():
    "The authors' way, for contrast: a preparation of test months by themselves depends on them."
    ocean = make_ocean(120); p = climate_problem(make_ocean(), make_rain(), region='AZ')
    assert (not ClimatePrep().fit(ocean[:60]).state_.equals(ClimatePrep().fit(ocean[60:]).state_)
            and p.prep_x.state_.climatology.notnull().all())

def test_target_may_follow_the_oceans_last_month():
    ocean,rain = make_ocean(300),make_rain(480); p = climate_problem(ocean, rain, region='AZ', leads=6)
    assert (lead_rows(ocean.time.values, rain_target(rain, 'AZ'), 6)[-1] == 300 and p.config['months'] == 295
            and p.config['last'] == '1975-01' and p.config['first'] == '1950-07')
    assert p.starts.max() == len(p.fields)

@pytest.mark.parametrize('leads', [1, 5])
def test_the_first_month_is_no_difference_so_no_row_looks_at_it(leads):
    p = climate_problem(make_ocean(), make_rain(), region='AZ', leads=leads, detrend='difference')
    q = climate_problem(make_ocean(), make_rain(), region='AZ', leads=leads)
    assert (p.fields.time.values[0] == months(2)[1] and q.fields.time.values[0] == months(1)[0]
            and p.config['months'] == q.config['months']-1 and p.config['gap'] == q.config['gap']+1)

def test_from_files_and_from_memory_agree(tmp_path):
    ocean,rain = make_ocean(),make_rain(); ocean.attrs.clear()
    for v in ('sst', 'slp'):
        ocean.sel(variable=v, drop=True).rename(v).isel(lat=slice(None, None, -1)).assign_coords(lon=ocean.lon
                -360).to_netcdf(tmp_path/f'{v}.nc')
    rain.to_netcdf(tmp_path/'rain.nc')
    a = climate_problem([tmp_path/'sst.nc', str(tmp_path/'slp.nc')], tmp_path/'rain.nc', region='AZ')
    b = climate_problem(ocean, rain, region='AZ')
    c = climate_problem([ocean.sel(variable=v, drop=True).rename(v) for v in ('sst', 'slp')],
                        rain_target(rain, 'AZ'), region='AZ')
    for p in (a, c):
        np.testing.assert_allclose(p.design.u, b.design.u, rtol=1e-6)
        np.testing.assert_array_equal(p.y, b.y)
        assert p.config == b.config
    json.dumps(a.config)

def test_predicting_later():
    ocean,rain = make_ocean(480, land=[(2, 2)]),make_rain()
    kw = dict(region='AZ', leads=4, window=3, start_months=[11, 12])
    p = climate_problem(ocean, rain, **kw); prep = p.prep_x, p.prep_y
    q = climate_problem(ocean[400:], rain[:, 380:], prep=prep, **kw)
    unknown = climate_problem(ocean[400:], prep=prep, **kw)
    assert (list(q.rows) == ['test'] and q.lost == 0 and len(q.rows['test']) == len(q.times) == len(unknown.times)
            and (q.times == unknown.times).all())
    i,j = np.flatnonzero(np.isin(p.times, q.times)),np.flatnonzero(np.isin(q.times, p.times)); assert len(i) > 5
    assert torch.equal(p.design.batch(torch.from_numpy(i)).x, q.design.batch(torch.from_numpy(j)).x)
    np.testing.assert_array_equal(p.y[i], q.y[j])
    assert unknown.y.isnull().all() and torch.equal(unknown.design.batch().x,
                                                    q.design.batch().x) and q.y.isnull().sum() == (q.times
            > np.datetime64('1989-10')).sum()
    with pytest.raises(DataError, match='variable'): climate_problem(ocean[400:, :1], prep=prep, **kw)
    hole = ocean[400:].copy(); hole[:, 0, 1, 1] = np.nan
    with pytest.raises(DataError, match='1 cells have training data but no value'):
        climate_problem(hole, prep=prep, **kw)
    out = climate_problem(ocean, rain, region='IA', by='division', leads=2)
    assert climate_problem(ocean[400:], leads=2, prep=(out.prep_x, out.prep_y)).y.shape == (79, 2)

def test_missing_values():
    ocean,rain = make_ocean(),make_rain(); ocean[100:103, 1, 2, 3] = np.nan; rain[0, 200:204] = np.nan
    p = climate_problem(ocean, rain, region='0201', leads=3)
    assert p.config['filled'] == 3 and p.design.grid.mask.all()
    assert not np.isin(p.times, rain.time.values[200:204]).any() and p.y.notnull().all()
    assert (p.fields.sel(time=ocean.time.values[100:103])[:, 1, 2, 3] == 0).all()
    q = climate_problem(ocean, rain, region='AZ', by='division', leads=3)
    assert q.y.isnull().values.sum() == np.isin(q.times, rain.time.values[200:204]).sum() > 0
    b = baselines(q)
    assert np.isfinite([v['test']['r2'] for v in b.values()]).all() and len(b['ridge']['test']['r2_by_output']) == 2

def bad(ocean=lambda o: o, rain=lambda r: r, **kw): return ocean, rain, kw

@pytest.mark.parametrize('error,text,change', [
    (DataError, 'infinite values', bad(lambda o: o.where(o.time != o.time[3], np.inf))),
    (DataError, 'rainfall holds 1 infinite', bad(rain=lambda r: r.where(r.time != r.time[3], np.inf))),
    (DataError, 'must have every month.*1950-11 is missing', bad(lambda o: o.drop_isel(time=10))),
    (DataError, 'sst has no value at all in 1950-04',
     bad(lambda o: o.where((o.time != o.time[3])|(o['variable'] == 'slp')))),
    (DataError, 'sst has no value at all', bad(lambda o: o.where(o['variable'] == 'slp'))),
    (DataError, '1950-03 is missing', bad(rain=lambda r: r.drop_isel(time=2))),
    (DataError, 'no target month has 6 months of ocean.*1950-01 to 1989-12.*2000-01',
     bad(rain=lambda r: r.assign_coords(time=months(480, '2000-01')))),
    (DataError, 'leave no row for', bad(lambda o: o[:70])),
    (DataError, 'no target month', bad(lambda o: o[:4])), (ConfigError, 'whole number', bad(leads=0)),
    (ConfigError, 'whole number', bad(leads=2.5)), (ConfigError, 'window', bad(window=0)),
    (ConfigError, 'calendar months', bad(start_months=[13])),
    (ConfigError, 'calendar months', bad(start_months=[])), (ConfigError, 'detrend', bad(detrend='cubic')),
    (ConfigError, 'needs rain', bad(rain=lambda r: None)), (DataError, "'TX'", bad(region='TX')),
    (DataError, 'no valid cell', bad(lambda o: o.where(((o.lat < 0)&(o['variable'] == 'sst'))
        |((o.lat >= 0)&(o['variable'] == 'slp'))))),
    (DataError, 'no row is left|no target', bad(rain=lambda r: r.where(r.time.dt.month == 1), start_months=[2])),
    (DataError, 'no target', bad(rain=lambda r: r*np.nan))])
def test_bad_input(error, text, change):
    ocean,rain,kw = change
    with pytest.raises(error, match=text):
        climate_problem(ocean(make_ocean()), rain(make_rain()), **dict(dict(region='AZ'), **kw))
