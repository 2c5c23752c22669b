"""The simulated ocean: the same bits from any block, land, season, trend and variance as promised, correlations
near those of real sea-surface temperature, a truth that is what the formula says, rain that follows it, archives
that read back."""
import json
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl.climate.prepare import ClimatePrep
from mrtl.splits import block_split
from mrtl.rivals import skill
from mrtl.core import ConfigError, DataError
from mrtl.decompose import factor_match
from mrtl.climate.fields import open_fields, regrid
from mrtl.grids import Grid
from mrtl.climate.ocean import MODES, OceanMonths, RainMonths, RedNoise, dipoles, land_mask, mode_maps, mode_series, ocean_climate, ocean_grid, rain_climate, simulate_ocean, simulate_rain, teleconnection, write_ocean_archives
from mrtl.climate.prism import open_prism
from mrtl.climate.rain import region_means, rain_target

BOX,US = dict(lat=(0, 24), lon=(200, 240), step=2),((40, 44), (-97, -90))

def share_of(ds):
    return Grid.from_coords(ds.lat, ds.lon, names=('lat', 'lon'), sphere=True,
                            mask=ds.temperature[0].notnull().values).share.numpy()

def lag1(a): return (a[1:]*a[:-1]).mean(0)/(a**2).mean(0)

@pytest.fixture(scope='module')
def ds(): return simulate_ocean(600, step=5)

# ---- the same bits

@pytest.mark.parametrize('block', [1, 7, 12, 50, 1000])
@pytest.mark.parametrize('lazy', [False, True])
def test_any_block_gives_the_same_bits(block, lazy):
    a,b = simulate_ocean(50, **BOX, seed=3),simulate_ocean(50, **BOX, seed=3, block=block, lazy=lazy)
    assert (b.temperature.chunks is not None)==lazy and b.temperature.dtype==np.float32
    xr.testing.assert_identical(a, b.compute())

def test_a_lazy_slice_is_that_of_the_whole():
    a,b = simulate_ocean(60, **BOX),simulate_ocean(60, **BOX, lazy=True, block=7)
    for s in (slice(0, 3), slice(5, 9), slice(59, 60)):
        for v in ('salinity', 'temperature'): np.testing.assert_array_equal(a[v][s], b[v][s].compute())

def test_seeds_differ_and_reach_everything():
    a,b = simulate_ocean(50, **BOX, seed=0),simulate_ocean(50, **BOX, seed=1)
    for v in ('temperature', 'salinity', 'y', 'signal'): assert np.nanmax(abs(a[v]-b[v]))>.1
    y = a.y[6:30]; one,two = (simulate_rain(y, *US, region='IA', seed=s).values for s in (0, 1))
    assert np.nanmax(abs(one-two))>1

@pytest.mark.parametrize('months', [31, 36, 50])
def test_fields_of_a_shorter_record_begin_alike(months):
    c = ocean_grid(**BOX); a,b = OceanMonths(c, months, 1., 0),OceanMonths(c, 60, 1., 0)
    np.testing.assert_array_equal(a.anomalies(0, 20)[0], b.anomalies(0, 20)[0])

# ---- land

@pytest.mark.parametrize('lat,lon,land', [(40, 260, 1), (0, 200, 0), (64, 341, 1), (-10, 300, 1), (35, 310, 0),
                                          (20, 204.5, 1), (58, 272, 0), (40, 357, 1), (15, 345, 1), (19, 279, 0),
                                          (52, 359, 1), (45, -100, 1), (25, 5, 1), (0, 160, 0), (-25, 135, 1),
                                          (70, -40, 1), (51, 142, 0), (42, 51, 0)])
def test_known_places(lat, lon, land): assert land_mask([lat], [lon])[0, 0]==bool(land)

def test_share_of_sea():
    g = ocean_grid()
    assert g.shape==(80, 180) and .72<g.mask.float().mean()<.79 and .72<float(g.area.sum()/Grid(g.shape, g.y, g.x,
            sphere=True).area.sum())<.8

def test_land_is_missing_in_both_and_always(ds):
    dry = land_mask(ds.lat, ds.lon)
    for v in ('temperature', 'salinity'):
        np.testing.assert_array_equal(ds[v].isnull().values, np.broadcast_to(dry, ds[v].shape))
    assert not ds.space.values[dry].any() and not ds.beta.values[..., dry].any()

@pytest.mark.parametrize('bad', [dict(lat=(0.5, 20)), dict(lat=(20, 0)), dict(lon=(200, 600)), dict(lat=(-90, 0)),
                                 dict(step=0), dict(step=1.5)])
def test_boxes_refused(bad):
    with pytest.raises(ConfigError, match='whole'): ocean_grid(**bad)

def test_a_box_without_sea():
    with pytest.raises(DataError, match='no valid cell'): simulate_ocean(40, lat=(38, 42), lon=(255, 265))

# ---- season, trend, variance

def test_season_has_its_amplitude(ds):
    c = ocean_climate(ds.lat, ds.lon)
    for v in ('temperature', 'salinity'):
        x = ds[v].values.reshape(50, 12, *ds[v].shape[1:]).mean(0)
        x = x-x.mean(0)
        want = c.season.sel(variable=v).values
        ok = ds[v][0].notnull().values
        assert np.abs(x-want)[:, ok].mean() < .25*float(c.spread.sel(variable=v).mean())
    t = ds.temperature.groupby('time.month').mean()
    north,south = (t.sel(lat=k, method='nearest').mean('lon') for k in (41, -15))
    assert north.values.argmax()+1 in (8, 9) and south.values.argmax()+1 in (2,
            3) and np.ptp(north.values)>7>5>np.ptp(south.values)>1

def test_it_warms():
    ds = simulate_ocean(1200, step=10, growth=1.); c = ocean_climate(ds.lat, ds.lon)
    x = ds.temperature.values.reshape(100, 12, *ds.temperature.shape[1:]).mean(1); t = np.arange(100.)-49.5
    slope = 100*np.tensordot(t, x, 1)/(t@t); ok = ds.temperature[0].notnull().values
    assert abs((slope-c.trend[0].values)[ok].mean())<.2 and .4<slope[ok].mean()<1

@pytest.mark.parametrize('growth', [1., 1.8, 3.])
def test_variance_grows(growth):
    m = OceanMonths(ocean_grid(step=10), 900, growth, 0); x,_ = m.anomalies(0, 900)
    s = [np.sqrt((x[i:i+150]**2).mean()) for i in (0, 750)]; want = (1+(growth-1)*11/12)/(1+(growth-1)/12)
    assert s[1]/s[0]==pytest.approx(want, rel=.2)
    sea = np.broadcast_to(m.grid.mask.numpy(), x.shape[1:])
    assert (x**2).mean(0)[sea].mean()==pytest.approx((m.spread[sea]**2).mean(), rel=.15)

def test_salinity_is_tied_to_temperature():
    m = OceanMonths(ocean_grid(step=5), 900, 1., 0); x,_ = m.anomalies(0, 900); ok = m.grid.mask.numpy()
    r = (x[:, 0]*x[:, 1]).mean(0)/np.sqrt((x**2).mean(0).prod(0)+1e-9); want = np.broadcast_to(m.tie, ok.shape)
    assert np.abs(r-want)[ok].mean()<.1 and r[:4][ok[:4]].mean()<-.3 and r[-4:][ok[-4:]].mean()>.3

# ---- correlation in space and time

def test_modes_leave_room_and_have_their_memory():
    L = mode_maps(np.arange(-19, 61), np.arange(181, 361))
    assert (L**2).sum(0).max()<=.85+1e-9 and L.shape==(len(MODES), 80, 180)
    p = mode_series(100000); np.testing.assert_allclose(p.var(0), 1, atol=.15)
    for i,(r,period,_) in enumerate(MODES.values()):
        want = 2*r*np.cos(2*np.pi/period)/(1+r*r) if period else r
        assert lag1(p)[i]==pytest.approx(want, abs=.01)
    np.testing.assert_array_equal(mode_series(50, 4)[:20], mode_series(20, 4))

@pytest.mark.parametrize('shape,step', [((30, 60), 1.), ((10, 24), 4.)])
def test_noise_is_stationary_and_red(shape, step):
    noise = RedNoise(shape, step, seed=1); state,x = None,[]
    for t in range(500): state = noise.next(t, state); x.append(noise.fields(state))
    x = np.stack(x)
    np.testing.assert_allclose([x[:250].var(), x[250:].var()], 1, atol=.12)
    assert abs((x[:, 0]*x[:, 1]).mean())<.06
    k = np.abs(np.fft.rfft(x, axis=-1))**2; k = k.mean((0, 1, 2)); assert k[1]>5*k[len(k)//2]>k[-1]
    assert .55<lag1(x).mean()<.8

def anomalies(x):
    "Season and straight line off; (time, ...)."
    a = x.astype(float).copy()
    for m in range(12): a[m::12] -= a[m::12].mean(0)
    t = np.arange(len(a))-(len(a)-1)/2
    return a-np.multiply.outer(t, np.tensordot(t, a, 1)/(t@t))

def looks(x):
    """Memory and pattern of monthly temperature on 5 degrees: lag-1 correlation in the tropics and poleward, at
    lags 3, 6, 12, the first EOFs' shares, correlation 5, 20 and 40 degrees east."""
    a = anomalies(x.values); ok = np.isfinite(a).all(0)
    z = a/np.where(ok, a.std(0), 1)
    lat = np.abs(np.broadcast_to(x.lat.values[:, None], ok.shape))
    w = np.sqrt(np.cos(np.deg2rad(lat)))
    r = lambda l, where: float(np.median((z[l:]*z[:-l]).mean(0)[where&ok]))
    e = np.linalg.svd((a*w)[:, ok], compute_uv=False)**2
    east = lambda k: float(np.nanmean(z[:, :, k:]*z[:, :, :-k]))
    return dict(tropics=r(1, lat<11), poleward=r(1, lat>20), lag3=r(3, lat<99), lag6=r(6, lat<99),
                lag12=r(12, lat<99), eof1=e[0]/e.sum(), eof5=e[:5].sum()/e.sum(), east5=east(1), east20=east(4),
                east40=east(8), sd=float(a.std(0)[ok].mean()))

@pytest.mark.data
@pytest.mark.parametrize('seed', [0, 1])
def test_it_looks_like_kaplan(data, seed):
    real = xr.open_dataset(data('climate/kaplan_sst_anomaly_pacific_5deg_1856_2014.nc')).sst_anom.sel(time=slice('1900', '2013'))[:, 2:-1, 1:]
    real = real.assign_coords(lon=real.lon%360)
    sim = simulate_ocean(1368, lat=(-19, 27), lon=(181, 290), growth=1., seed=seed).temperature
    sim = regrid(sim, real.lat.values, real.lon.values).where(real.notnull().all('time').values)
    a,b = looks(real),looks(sim)
    width = dict(tropics=.12, poleward=.15, lag3=.27, lag6=.25, lag12=.15, eof1=.28, eof5=.2, east5=.06,
                 east20=.15, east40=.2, sd=.15)
    for k,d in width.items(): assert abs(a[k]-b[k])<d, (k, a[k], b[k])
    assert b['tropics']>.75 and b['tropics']>b['poleward'] and b['lag12']<.2

# ---- the truth

@pytest.mark.parametrize('rank', [1, 2, 3, 5, 6])
@pytest.mark.parametrize('leads', [1, 3, 6])
def test_planted_factors(rank, leads):
    g = ocean_grid(step=4)
    f = teleconnection(g, leads, rank, .15)
    w = g.share.numpy().ravel(); C = .85*np.eye(rank)+.15
    np.testing.assert_allclose((f['space'].T*w)@f['space'], C, atol=1e-8)
    np.testing.assert_allclose(dipoles(g, rank)@f['mix'], f['space'], atol=1e-7)
    np.testing.assert_allclose((f['variable']**2).mean(0), 1); np.testing.assert_allclose((f['lead']**2).mean(0), 1)
    if rank<=leads: np.testing.assert_allclose(f['lead'].T@f['lead']/leads, C, atol=1e-8)

@pytest.mark.parametrize('r2', [.1, .5, .9, 1.])
@pytest.mark.parametrize('rank,leads,drift', [(3, 6, 0.), (5, 6, 0.), (1, 2, 0.), (3, 6, 5.), (2, 4, -3.)])
def test_r2_is_what_was_asked(r2, rank, leads, drift):
    ds = simulate_ocean(200, step=8, leads=leads, rank=rank, r2=r2, drift=drift)
    y,s = ds.y.values[leads:],ds.signal.values[leads:]
    assert np.isnan(ds.y.values[:leads]).all() and s.std()==pytest.approx(1) and abs(s.mean())<1e-9
    assert 1-((y-s)**2).sum()/((y-y.mean())**2).sum()==pytest.approx(r2, abs=1e-9)
    assert (np.diff(ds.strength)<=0).all() and ds.sizes['component']==rank and ds.sizes['lead']==leads

def rebuilt(ds, x=None):
    "The signal from the fields by the formula; with the true season, trend and spread off when `x` is not given."
    if x is None:
        c = ocean_climate(ds.lat, ds.lon)
        x = np.stack([ds[v] for v in ('temperature', 'salinity')], 1)-(c['mean']+c.season).transpose('month',
                ...).values[np.arange(len(ds.time))%12]-c.trend.values*((np.arange(len(ds.time))
                -len(ds.time)/2)/1200)[:, None, None, None]
    w = share_of(ds); x = np.nan_to_num(x)
    x = x/np.sqrt((w*x**2).sum((2, 3)).mean(0))[:, None, None]
    L = ds.sizes['lead']
    s = sum(np.einsum('tvij,vij,ij->t', x[L-l:len(x)-l], ds.beta.values[l-1], w) for l in range(1, L+1))
    return s-s.mean()

@pytest.mark.parametrize('rank,leads', [(3, 6), (2, 1), (5, 4)])
def test_signal_is_what_the_formula_says(rank, leads):
    ds = simulate_ocean(120, step=5, rank=rank, leads=leads)
    np.testing.assert_allclose(rebuilt(ds), ds.signal.values[leads:], atol=2e-3)
    parts = np.einsum('lk,vk,ijk,k->lvij',
                      *(ds[k].values for k in ('lead_loading', 'variable_loading', 'space', 'strength')))
    np.testing.assert_allclose(parts, ds.beta, atol=1e-9)

def test_a_reader_finds_the_signal_again(ds):
    fields = ds[['temperature', 'salinity']].to_dataarray('variable').transpose('time', 'variable', 'lat', 'lon')
    r = np.corrcoef(rebuilt(ds, ClimatePrep('linear').fit(fields).transform(fields).values), ds.signal[6:])[0, 1]
    assert .95<r<1

def test_drift_moves_the_maps_and_nothing_else():
    a,b = simulate_ocean(360, step=5),simulate_ocean(360, step=5, drift=6.)
    for v in ('temperature', 'salinity'): np.testing.assert_array_equal(a[v], b[v])
    for v in ('space', 'lead_loading'): np.testing.assert_array_equal(np.sort(a[v], -1), np.sort(b[v], -1))
    g = ocean_grid(step=5); M = teleconnection(g)['mix']; moved = dipoles(g, 3, 90.)@M
    assert np.abs(moved-dipoles(g, 3)@M).max()>1
    near = [np.corrcoef(a.signal[i:i+60], b.signal[i:i+60])[0, 1] for i in (6, 150, 300)]
    assert near[1]>.999>near[0] and near[1]>near[2]
    assert np.corrcoef(a.signal[6:], simulate_ocean(360, step=5, drift=20.).signal[6:])[0,
            1]<np.corrcoef(a.signal[6:], b.signal[6:])[0, 1]

@pytest.mark.parametrize('bad', [dict(months=20), dict(months=2.5), dict(rank=7), dict(rank=0), dict(leads=0),
                                 dict(r2=0), dict(r2=1.1), dict(cosine=1.), dict(growth=0),
                                 dict(growth=float('nan')), dict(drift=float('nan')),
                                 dict(memory=(0, 1)), dict(block=0)])
def test_simulations_refused(bad):
    with pytest.raises(ConfigError): simulate_ocean(**dict(months=40, step=10)|bad)

def reference_fit(x, y, train, grid, leads=6, rank=3, width=22., alpha=30., rounds=25, starts=3):
    """CP regression by alternating ridge in smooth functions of the plane; factors and predictions of the start
    that fits best."""
    smooth = []
    for c,e in ((grid.y_centres, width), (grid.x_centres, 1.9*width)):
        v,U = np.linalg.eigh(np.exp(-.5*((c[:, None]-c)/e)**2))
        keep = v>1e-2*v[-1]
        smooth.append(U[:, keep]*np.sqrt(v[keep]))
    B = np.einsum('ia,jb->ijab', *smooth).reshape(grid.D, -1)*grid.mask.numpy().reshape(-1, 1)
    Z = (np.nan_to_num(x)*grid.share.numpy()).reshape(len(x)*2, -1)@B
    Z = (Z/np.sqrt((Z**2).mean())).reshape(len(x), 2, -1)
    X = np.stack([Z[leads-l:len(Z)-l] for l in range(1, leads+1)], 1); rng = np.random.default_rng(0); best = None
    for _ in range(starts):
        F = [rng.normal(size=(s, rank)) for s in X.shape[1:]]
        for i in [*range(3)]*rounds:
            a,b = (j for j in range(3) if j!=i); e = 'lvp'
            D = np.einsum(f'nlvp,{e[a]}k,{e[b]}k->nk{e[i]}', X[train], F[a], F[b],
                          optimize=True).reshape(len(train), -1)
            F[i] = np.linalg.solve(D.T@D+alpha*np.eye(D.shape[1]), D.T@(y[train]-y[train].mean())).reshape(rank, -1).T
            s = [np.linalg.norm(f, axis=0) for f in F]; F = [f/n*np.prod(s, 0)**(1/3) for f,n in zip(F, s)]
        yhat = np.einsum('nlvp,lk,vk,pk->n', X, *F, optimize=True)+y[train].mean(); loss = ((y-yhat)[train]**2).mean()
        if best is None or loss<best[0]: best = loss,[F[0], F[1], B@F[2]],yhat
    return best[1:]

@pytest.mark.parametrize('seed', [0, 2])
def test_components_can_be_told(seed):
    ds = simulate_ocean(step=4, seed=seed)
    y,signal = ds.y.values[6:],ds.signal.values[6:]
    rows = block_split(len(y), 37, 6, seed=0)
    train,test = rows['train'],rows['test']
    fields = ds[['temperature', 'salinity']].to_dataarray('variable').transpose('time', 'variable', 'lat', 'lon')
    seen = np.unique(train[:, None]+6-np.arange(1, 7))
    x = ClimatePrep('linear').fit(fields, seen).transform(fields).values; grid = ocean_grid(step=4)
    factors,yhat = reference_fit(x, y, train, grid)
    planted = [ds[k].transpose(..., 'component').values.reshape(-1, 3)
               for k in ('lead_loading', 'variable_loading', 'space')]
    match = factor_match(*([torch.from_numpy(np.ascontiguousarray(f)) for f in F] for F in (factors, planted)),
                         weights=[None, None, grid.share.flatten()])
    assert match>.82 and skill(y[test], signal[test])['r2']-skill(y[test], yhat[test])['r2']<.05, (match,
            skill(y[test], signal[test])['r2'], skill(y[test], yhat[test])['r2'])

# ---- rain

def test_rain_climate_is_sane():
    c = rain_climate(np.arange(25., 50), np.arange(-125., -66)); at = lambda lat, lon: c[:, lat-25, lon+125]
    assert c.min()>1 and at(32, -88).mean()>2*at(36, -112).mean() and at(42, -96).argmax() in (5, 6) and at(45,
            -123).argmax() in (11, 0, 1) and at(45, -123).mean()>100

@pytest.mark.parametrize('region,us', [('IA', US), ('midwest', ((36, 50), (-105, -80)))])
@pytest.mark.parametrize('start', ['1900-01', '1903-08'])
def test_mean_over_the_region_is_the_target(region, us, start):
    rng = np.random.default_rng(0)
    y = xr.DataArray(rng.normal(size=30)*1.4,
                     dict(time=(np.datetime64(start, 'M')+np.arange(30)).astype('M8[ns]')), ('time',))
    y[2] = np.nan
    rain = simulate_rain(y, *us, region)
    got = region_means(rain, region).values
    x = rain.values; m = rain.attrs['mm_per_unit']
    assert rain.dtype==np.float32 and np.nanmin(x)>=0 and 4<m<=9
    left = got-m*np.nan_to_num(y.values)
    np.testing.assert_allclose(left[12:24], left[:12], atol=.01)
    np.testing.assert_allclose(left[24:], left[:6], atol=.01)
    w = RainMonths(np.zeros(1), rain.lat.values, rain.lon.values, region).normal
    np.testing.assert_allclose(left[:12], np.roll(w, 1-int(y.time.dt.month[0])), atol=.01)
    np.testing.assert_allclose(x, np.round(x, 2), atol=1e-4); assert (np.isnan(x)==np.isnan(x[0])).all()

def test_rain_far_away_does_not_follow():
    y = xr.DataArray(np.random.default_rng(1).normal(size=96),
                     dict(time=np.arange('1900-01', '1908-01', dtype='M8[M]').astype('M8[ns]')), ('time',))
    rain = simulate_rain(y, (30, 44), (-110, -88), 'IA'); mean = lambda box: anomalies(region_means(rain, box).values)
    r = [abs(np.corrcoef(mean(b), y)[0, 1]) for b in ('IA', (31, 33, -108, -104))]; assert r[0]>.95 and r[1]<.4
    x = rain.sel(lat=slice(41, 43), lon=slice(-95, -92)).values
    z = anomalies(x)
    assert (z**3).mean()/(z**2).mean()**1.5>.2

@pytest.mark.parametrize('start', ['1900-01', '1900-08'])
def test_rain_has_its_season_wherever_it_starts(start):
    y = xr.DataArray(np.zeros(120), dict(time=(np.datetime64(start, 'M')+np.arange(120)).astype('M8[ns]')), ('time',))
    coast = simulate_rain(y, (41, 43), (-124, -92),
                          'IA').sel(lon=slice(-123.5, -120)).mean(('lat', 'lon')).groupby('time.month').mean().values
    assert np.corrcoef(coast, rain_climate([42.], [-122.])[:, 0, 0])[0, 1]>.9

@pytest.mark.parametrize('block', [1, 5, 100])
def test_rain_from_any_block(block):
    y = simulate_ocean(40, **BOX).y
    np.testing.assert_array_equal(simulate_rain(y, *US, 'IA'), simulate_rain(y, *US, 'IA', block=block))

def test_full_grid_is_prisms():
    rain = simulate_rain(simulate_ocean(31, **BOX).y)
    assert (rain.shape==(31, 621, 1405) and rain.lat[0]==pytest.approx(24.083333)
            and rain.lat[-1]==pytest.approx(49.9166667) and rain.lon[0]==pytest.approx(-125)
            and rain.lon[-1]==pytest.approx(-66.5))
    x = rain[0].values
    sea = rain[0].sel(lat=[35, 30, 47], lon=[-70, -90, -94], method='nearest').values
    assert np.isnan(sea[0, 0]) and np.isnan(sea[1, 0]) and np.isfinite(sea[2, 2]) and .5<np.isfinite(x).mean()<.6

@pytest.mark.parametrize('kw,what', [(dict(lat=(60, 70)), 'no two rows'), (dict(region='AZ'), 'no land cell')])
def test_rain_refused(kw, what):
    y = simulate_ocean(40, **BOX).y
    with pytest.raises(DataError, match=what): simulate_rain(y, **dict(lat=US[0], lon=US[1], region='IA')|kw)

# ---- archives

def test_archives_read_back(tmp_path):
    kw = dict(months=32, lat=(0, 12), lon=(190, 214), seed=2)
    made = write_ocean_archives(tmp_path, bil_until='1901-12', us=US, region='IA', **kw)
    ds = simulate_ocean(**kw)
    fields = {f.name: f for f in open_fields(made['ocean'])}
    for v,step in (('temperature', .001678), ('salinity', .0015)):
        got = fields[v].sel(lat=ds.lat, lon=ds.lon); assert (got.time.values==ds.time.values).all()
        np.testing.assert_allclose(got, ds[v], atol=.51*step)
    want = simulate_rain(ds.y, *US, 'IA', seed=2); np.testing.assert_allclose(open_prism(made['rain']), want, atol=1e-5)
    names = sorted(p.name for p in made['rain'])
    assert len(names)==2+8 and sum('all_bil' in n
                                   for n in names)==2 and sum(n.startswith('prism_ppt_us_25m_1902') for n in names)==8
    truth = xr.load_dataset(made['truth'])
    xr.testing.assert_allclose(truth.drop_attrs(), ds.drop_vars(['temperature', 'salinity']).drop_attrs())
    y = rain_target(made['rain'], 'IA').values
    m = truth.attrs['mm_per_unit']
    left = y-m*np.nan_to_num(truth.y.values)
    np.testing.assert_allclose(left[12:24], left[:12], atol=.01)
    assert sorted(p.name for p in tmp_path.iterdir())==['en4', 'prism', 'truth.nc']

def test_the_page_at_full_size_says_what_its_file_says():
    "Every figure in the prose of reproduction/climate_full, from the table beside it."
    here = Path(__file__).parent.parent/'nbs'/'reproduction'
    runs = pd.read_csv(here/'results'/'ocean_runs.csv').assign(gap=lambda d: d.truth_r2-d.test)
    text = ' '.join(''.join(c['source']) for c in json.loads((here/'climate_full.ipynb').read_text())['cells']
                    if c['cell_type'] == 'markdown').replace('\n', ' ')
    two = lambda v: f'{v:.2f}'.lstrip('0')
    three = lambda v: f'{v:.3f}'.lstrip('0')
    at = lambda truth,rank,way: runs[(runs.truth == truth)&(runs['rank'] == rank)&(runs.way == way)]
    small,large,start = at('planted', 3, 'MRTL'),at('planted', 10, 'MRTL'),at('planted', 10, 'random start')
    five,moving = at('five planted', 3, 'MRTL'),at('drifting', 3, 'MRTL')
    assert (f'({three(small.gap.mean())} and {three(large.gap.mean())}; the worst of the six fits is '
            f'{three(pd.concat([small, large]).gap.max())})' in text)
    for runs_,what in ((small.match, 'At rank 3 it is {} to {}'),
                       (start.match, 'finds the planted components better ({} to {})')):
        assert what.format(two(runs_.min()), two(runs_.max())) in text
    assert (f'correlate {two(large.map_correlation.mean())} with the truth, against '
            f'{two(small.map_correlation.mean())}' in text and abs(large.match.mean()-.5) < .01)
    assert (f"falls short of the truth's by {two(five.gap.min())} to {two(five.gap.max())}" in text
            and f'({two(moving.match.min())} to {two(moving.match.max())}), and loses {two(moving.gap.min())} to '
            f'{two(moving.gap.max())}' in text)
