"""Grids of cases for `mrtl.climate.rain`: means against brute force, nClimDiv text, units, and one target from
every kind of file."""
import json
import cftime, dask.array as da, numpy as np, pytest, xarray as xr
from mrtl.climate import rain as module
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.climate.prism import write_prism
from mrtl.climate.rain import STATE_CODES, division_means, open_climdiv, open_rain, pick_divisions, rain_target, region_means, region_weight_rows
from mrtl.climate.amounts import monthly_total
from mrtl.climate.regions import CONTIGUOUS, MIDWEST_STATES, region_weights

def months(n, start='1950-01'): return (np.datetime64(start, 'M')+np.arange(n)).astype('datetime64[ns]')

def table(n=480, start='1950-01', seed=1):
    rng = np.random.default_rng(seed)
    where = dict(division=['0201', '0202', '1301', '1302', '2001'],
                 state=('division', ['AZ', 'AZ', 'IA', 'IA', 'MI']),
                 census_midwest=('division', np.array([0, 0, 1, 1, 1], 'int8')))
    return xr.DataArray(rng.gamma(2., size=(5, n)), dict(where, time=months(n, start)), ('division', 'time'),
                        'precip', dict(units='inch/month'))

def grid(n=7, lat=np.arange(25.5, 52), lon=np.arange(-124.5, -66), seed=0, land=.8, start='1990-01'):
    rng = np.random.default_rng(seed)
    v = rng.gamma(2, 30, (n, len(lat), len(lon)))
    v[:, rng.random((len(lat), len(lon))) > land] = np.nan
    return xr.DataArray(v, dict(time=months(n, start), lat=lat, lon=lon), ('time', 'lat', 'lon'),
                        'ppt', dict(units='mm'))

def brute(rain, region):
    w = region_weights(region, rain.lat.values, rain.lon.values).values; out = []
    for x in rain.values:
        num = den = 0.
        for i,j in zip(*np.nonzero(w)):
            if np.isfinite(x[i, j]): num += w[i, j]*x[i, j]; den += w[i, j]
        out.append(num/den if den else np.nan)
    return np.array(out)

# ---- means over a map

@pytest.mark.parametrize('region', ['midwest', 'IA', 'AZ,NM', '37,49,-104,-80', (30.2, 30.9, -95.8, -95.1),
                                    [(-100, 30), (-80, 48), (-110, 45)]], ids=str)
@pytest.mark.parametrize('lazy', [None, (1, 27, 59), (3, 10, 59), (7, 5, 7)])
def test_brute_force(region, lazy):
    rain = grid(land=1 if isinstance(region, tuple) else .8)
    rain[2, 5:14] = np.nan; want = brute(rain, region)
    got = region_means(rain if lazy is None else rain.copy(data=da.from_array(rain.values, lazy)), region)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert got.dims == ('time',) and got.units == 'mm' and (got.time == rain.time).all()
    w = region_weights(region, rain.lat.values, rain.lon.values)
    np.testing.assert_allclose(got, rain.weighted(w).mean(('lat', 'lon')), rtol=1e-12)

def test_many_regions():
    rain = grid(); regions = dict(a='IA', box=(37, 49, -104, -80), paper='midwest'); got = region_means(rain, regions)
    assert got.dims == ('time', 'output') and got.output.values.tolist() == list(regions)
    for k,r in regions.items(): np.testing.assert_allclose(got.sel(output=k), brute(rain, r), rtol=1e-12)

def test_orders_and_longitudes():
    rain = grid(); want = region_means(rain, 'midwest')
    across = rain.assign_coords(lon=rain.lon+360)
    for other in (across, rain[:, ::-1], rain[[3, 0, 1, 2, 6, 5, 4]], rain.transpose('lon', 'lat', 'time'),
                  rain[:, :, ::-1], rain.assign_coords(time=rain.time.values+np.timedelta64(14, 'D'))):
        np.testing.assert_allclose(region_means(other, 'midwest'), want, rtol=1e-12)
    world = grid(lon=np.arange(.5, 360), lat=np.arange(20.5, 60)); turned = world.roll(lon=180, roll_coords=True)
    for lon in (turned.lon, (turned.lon+180)%360-180):
        np.testing.assert_allclose(region_means(turned.assign_coords(lon=lon), '30,50,-20,30'),
                                   region_means(world, (30, 50, -20, 30)), rtol=1e-12)

def test_missing_cells_and_months():
    rain = grid(); rain[3] = np.nan
    got = region_means(rain, dict(a='IA', b='CO'))
    assert got.isnull().sum() == 2 and got[3].isnull().all()
    rain = rain.where(~(region_weights('CO', rain.lat.values, rain.lon.values) > 0))
    with pytest.raises(DataError, match='no cell with data lies in the region .b.'):
        region_means(rain, dict(a='IA', b='CO'))
    with pytest.raises(DataError, match="no cell with data lies in the region 'CO'"): region_means(rain, 'CO')

@pytest.mark.parametrize('n,block', [(100, 1), (90, 4)])
def test_only_the_window_and_some_months_at_a_time(n, block, monkeypatch):
    class Counted:
        shape,dtype,ndim,seen = (n, 270, 590),np.dtype('float32'),3,[]
        def __getitem__(self, key):
            x = np.ones([len(range(m)[k]) for m,k in zip(self.shape, key)], 'float32')
            self.seen.append(x.shape)
            return x
    source = Counted(); held = []; source.seen.clear()
    lazy = xr.DataArray(da.from_array(source, chunks=(block, 270, 590), name=False,
                                      meta=np.empty((0, 0, 0), 'float32')),
                        dict(time=months(n), lat=np.arange(25.05, 52, .1), lon=np.arange(-124.95, -66, .1)),
                        ('time', 'lat', 'lon'))
    means = module._means
    monkeypatch.setattr(module, '_means', lambda rain, W: held.append(len(rain)) or means(rain, W))
    lazy = lazy[:, :270, :590]
    got = region_means(lazy, 'midwest'); np.testing.assert_allclose(got, 1.)
    W,rows,cols = region_weight_rows({'': 'midwest'}, lazy.lat.values, lazy.lon.values)
    h,w = rows.stop-rows.start,cols.stop-cols.start
    assert sum(s[0] for s in source.seen) == n and all(s == (min(block, s[0]), h, w)
            for s in source.seen) and W.shape == (1, h*w)
    assert max(held)*h*w <= max(block*h*w, 2**21) and sum(held) == n and len(held) > 1

@pytest.mark.parametrize('error,text,region',
                         [(DataError, "no cell lies in the region 'HI'.*latitudes 25.5..51.5 and longitudes "
                           "-124.5..-66.5", 'HI'), (DataError, "[0-9]+% of the region 'WA' lies outside the grid",
        'WA'), (DataError, 'lies outside the grid', (40, 60, -100, -90)), (ConfigError, 'no region', 'Midwest'),
                          (ConfigError, 'no region was given', {})], ids=str)
def test_regions_refused(error, text, region):
    rain = grid(lon=np.arange(-120.5, -66)) if region == 'WA' else grid()
    with pytest.raises(error, match=text): region_means(rain, region)

def test_a_few_per_cent_may_be_missing():
    for north,ok in ((52.2, True), (53, False)):
        if ok: assert region_means(grid(), (40, north, -100, -90)).notnull().all()
        else:
            with pytest.raises(DataError, match='7% of the region'): region_means(grid(), (40, north, -100, -90))

@pytest.mark.parametrize('v', [-9999., -99.9, 1e20, np.inf, -np.inf])
def test_undeclared_fill_values(v):
    rain = grid(land=1); rain[4, 15, 30] = v
    with pytest.raises(DataError, match='1 values that are no rain, like .* in 1990-05: declare'):
        region_means(rain, 'midwest')
    assert region_means(rain, 'CA').notnull().all()

def test_bad_grids():
    with pytest.raises(DataError, match='must be .time, lat, lon.'): region_means(grid()[0], 'IA')
    with pytest.raises(DataError, match='must be'): region_means(grid()[:0], 'IA')
    with pytest.raises(DataError, match='1990-03'): region_means(grid().isel(time=[0, 1, 2, 2]), 'IA')
    with pytest.raises(DataError, match='1990-02 is missing'): region_means(grid().isel(time=[0, 2]), 'IA')
    with pytest.raises(DataError, match='equally spaced'): region_means(grid().isel(lat=[0, 1, 5, 20]), 'IA')

# ---- by division

@pytest.mark.parametrize('by', [None, 'division'])
@pytest.mark.parametrize('region,which', [('midwest', (2, 3, 4)), ('all', (0, 1, 2, 3, 4)), ('AZ', (0, 1)),
                                          ('IA,MI', (2, 3, 4)), ('0202, 1301', (1, 2)), ('AZ,0201', (0, 1)),
                                          ('midwest,0201', (0, 2, 3, 4)), ('0201,0202,1301,1302', (0, 1, 2, 3))])
@pytest.mark.parametrize('as_file', [False, True])
def test_regions_of_divisions(tmp_path, region, which, by, as_file):
    rain = table(); source = rain
    if as_file: source = tmp_path/'rain.nc'; rain.reset_coords(['state', 'census_midwest']).to_netcdf(source)
    got = rain_target(source, region, by); v = rain.values[list(which)]
    np.testing.assert_allclose(got, v.T if by else v.mean(0))
    assert got.dims == (('time', 'output') if by else ('time',))
    assert (got.time.values == rain.time.values).all() and got.attrs['units'] == 'inch/month'
    if by: assert list(got.output.values) == list(rain.division.values[list(which)])

def test_divisions_by_state():
    rain = table(); rain[0, 5] = np.nan; rain[4, 7] = np.nan
    got = rain_target(rain, 'all', by='state')
    assert got.dims == ('time', 'output') and got.output.values.tolist() == ['AZ', 'IA',
            'MI'] and got.units == 'inch/month'
    np.testing.assert_allclose(got.sel(output='AZ'), np.nanmean(rain.values[:2], 0))
    assert got.isnull().sum() == 1 and np.isnan(got[7, 2])
    np.testing.assert_allclose(rain_target(rain, '0201,IA', by='state'),
                               np.c_[rain.values[0], rain.values[2:4].mean(0)])
    assert rain_target(rain, 'all', by='division').isnull().sum() == 2 and rain_target(rain, 'MI').isnull().sum() == 1
    with pytest.raises(DataError, match='no coordinate `state`'):
        rain_target(rain.drop_vars('state'), 'all', by='state')

def test_division_refusals(tmp_path):
    rain = table()
    with pytest.raises(DataError, match="'TX'.*AZ, IA, MI"): rain_target(rain, 'AZ,TX')
    with pytest.raises(DataError, match='census_midwest'): rain_target(rain.drop_vars('census_midwest'), 'midwest')
    with pytest.raises(ConfigError, match='by must be'): rain_target(rain, 'AZ', by='county')
    with pytest.raises(ConfigError, match="by='feature' is for gridded"): rain_target(rain, 'AZ', by='feature')
    with pytest.raises(DataError, match='1950-02'): rain_target(rain.isel(time=[0, 1, 1]), 'AZ')
    with pytest.raises(DataError, match='1950-02 is missing'): rain_target(rain.isel(time=[0, 2]), 'AZ')
    for region in ('basin.geojson', '37,49,-104,-80', '37, 49.5, -104, -80', (37, 49, -104, -80),
                   dict(type='Polygon'), None):
        with pytest.raises(ConfigError, match='no map to lay a box or an outline on'): rain_target(rain, region)
    for v in -9.99,-9999.,1e20:
        with pytest.raises(DataError, match='1 values that are no rain'):
            rain_target(rain.where(rain.time != rain.time[3], v)[:, :9][:1], 'AZ')
    with pytest.raises(DataError, match="'degC', which is none of rain"):
        rain_target(rain.assign_attrs(units='degC'), 'AZ')
    rain.rename(division='place').to_netcdf(tmp_path/'a.nc')
    with pytest.raises(DataError, match='division, time'): rain_target(tmp_path/'a.nc')
    whole = (rain.to_netcdf(tmp_path/'b.nc'), (tmp_path/'b.nc').read_bytes())[1]
    (tmp_path/'b.nc').write_bytes(whole[:len(whole)//2])
    with pytest.raises(FormatError, match='b.nc'): rain_target(tmp_path/'b.nc')
    with pytest.raises(DataError, match='no file'): rain_target(tmp_path/'c.nc')
    with pytest.raises(DataError, match='no rainfall file'): rain_target([])

def test_divisions_in_another_calendar_and_order():
    rain = table(24)
    other = rain.assign_coords(time=[cftime.DatetimeNoLeap(1950+i//12, i%12+1, 16) for i in range(24)])
    np.testing.assert_array_equal(rain_target(other[:, ::-1].transpose('time', 'division'), 'AZ'),
                                  rain_target(rain, 'AZ'))

def test_missing_divisions_are_left_out_of_the_mean():
    rain = table(); rain[0, 5] = np.nan; rain[:2, 7] = np.nan; got = rain_target(rain, 'AZ')
    assert got[5] == rain[1, 5] and np.isnan(got[7]) and got.isnull().sum() == 1

def test_no_unit_of_divisions_is_said():
    assert rain_target(table().drop_attrs(), 'AZ').units == 'unknown' and rain_target(table().drop_attrs(), 'AZ',
            by='state').units == 'unknown'

# ---- nClimDiv text

def climdiv(rain, path, element='01', end='\n'):
    "Write the official layout."
    m = rain.time.values.astype('M8[M]').astype(int)
    years = np.arange(m[0]//12, m[-1]//12+1)
    x = np.full((len(rain), 12*len(years)), -9.99)
    x[:, m-12*years[0]] = np.where(np.isnan(rain), -9.99, rain)
    lines = [f"{d}{element}{1970+y}"+''.join(f'{v:7.2f}' for v in row)
             for d,rows in zip(rain.division.values, x.reshape(len(rain), -1, 12)) for y,row in zip(years, rows)]
    path.write_text(end.join(lines)+end); return path

@pytest.mark.parametrize('end', ['\n', '   \r\n', '\n\n'])
@pytest.mark.parametrize('name', ['climdiv-pcpndv-v1.0.0-20240105', 'rain.txt'])
def test_climdiv_round_trip(tmp_path, end, name):
    rain = table(43); rain[1, 13] = np.nan
    rain[:, 0:3] = np.nan
    f = climdiv(rain, tmp_path/name, end=end)
    got = open_rain(f)
    np.testing.assert_allclose(got, rain[:, 3:], atol=.00501)
    assert (got.time.values == rain.time.values[3:]).all() and got.dims == ('division', 'time')
    for k in ('division', 'state', 'census_midwest'): assert (got[k].values == rain[k].values).all()
    assert got.units == 'inch/month' and got.name == 'precip' and got.census_midwest.dtype == 'int8'
    np.testing.assert_allclose(rain_target(f, 'IA'), rain[2:4, 3:].mean('division'), atol=.006)

def test_state_codes():
    assert len(STATE_CODES) == 49 and list(STATE_CODES.values())[:48] == [s for s in 'AL AZ AR CA CO CT DE FL GA '
            'ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT '
            'VA WA WV WI WY'.split()]
    assert (set(STATE_CODES.values())-{'AK'} == set(CONTIGUOUS) and STATE_CODES['50'] == 'AK'
            and STATE_CODES['48'] == 'WY' and STATE_CODES['13'] == 'IA')

GOOD = '1301011895   0.55   0.43   1.20   3.31   4.02   4.55   3.30   4.10   2.90   1.10   1.30   0.20'
@pytest.mark.parametrize('line,text', [(GOOD[:-7], 'line 3 .*is no nClimDiv record.*87 columns'),
                                       (GOOD[:-1], '93 columns'), (GOOD+'1', '95 columns'), ('', None),
                                       (GOOD.replace('0.43', 'x.43'), 'line 3'),
                                       (GOOD.replace('   0.43', ' 0.4 3 '), 'a number that cannot be read'),
                                       (GOOD.replace('0.43', '----'), 'a number that cannot be read'),
    (GOOD.replace('   0.43', ' -99.90'), 'has -99.9 inches'), (GOOD.replace(' 0.43', '-0.43'), 'has -0.43 inches'),
    ('130102'+GOOD[6:], 'element 02, not 01'), ('9901'+GOOD[4:], 'state 99'),
    ('0011'+GOOD[4:], 'state 00.*states and regions'),
    ('1301011894'+GOOD[10:], 'gives 1894 of division 1301 again'), ('<html>', 'line 3'), ('\x00\x01', 'line 3')])
def test_climdiv_broken_lines(tmp_path, line, text):
    f = tmp_path/'climdiv-pcpndv'
    f.write_text(GOOD.replace('1895', '1894')+'\n'+GOOD.replace('1895', '1896')+'\n'+line+'\n'+GOOD+'\n')
    if text is None: assert open_climdiv(f).shape == (1, 36)
    else:
        with pytest.raises(FormatError, match=text): open_climdiv(f)

def test_climdiv_as_a_whole(tmp_path):
    f = tmp_path/'climdiv-pcpndv'; f.write_text(GOOD+'\n'+GOOD.replace('1895', '1897')+'\n')
    with pytest.raises(DataError, match='1896-01 is missing'): open_climdiv(f)
    f.write_text(GOOD+'\n'+GOOD.replace('1895', '1897')+'\n'+GOOD.replace('1301011895', '1302011896')+'\n')
    got = open_climdiv(f)
    assert got.shape == (2, 36) and got[0, 12:24].isnull().all() and got[1].notnull().sum() == 12
    f.write_text('')
    with pytest.raises(FormatError, match='is empty'): open_climdiv(f)
    f.write_text(GOOD[:10]+'  -9.99'*12+'\n')
    with pytest.raises(DataError, match='holds no value'): open_climdiv(f)
    with pytest.raises(DataError, match='no file'): open_climdiv(tmp_path/'gone')

@pytest.mark.data
def test_climdiv_text_of_the_real_table(tmp_path, data):
    real = open_rain(data('climate/nclimdiv_precip_1895_2022.nc'))
    got = open_climdiv(climdiv(real, tmp_path/'climdiv-pcpndv-v1.0.0-20230105'))
    assert got.shape == real.shape == (252, 1536) and np.abs(got.values-real.values).max() <= .00501
    for k in ('division', 'state', 'census_midwest', 'time'): assert (got[k].values == real[k].values).all()
    assert all(STATE_CODES[d[:2]] == s
               for d,s in zip(real.division.values, real.state.values)) and len(set(real.state.values)) == 37
    assert set(real.state.values[real.census_midwest.values == 1]) == set(MIDWEST_STATES)
    for region,by in (('midwest', None), ('AZ,NM', 'state'), ('0201,IA', 'division')):
        np.testing.assert_allclose(rain_target(got, region, by), rain_target(real, region, by), atol=.00501)

# ---- units

@pytest.mark.parametrize('units,factor', [('mm', 1), ('mm/month', 1), ('inch', 1), ('kg m-2', 1),
                                          ('mm/day', [31, 28]), ('mm day-1', [31, 28]), ('MM/Day', [31, 28]),
                                          ('kg m-2 s-1', [31*86400, 28*86400]),
                                          ('kg  m**-2 s**-1', [31*86400, 28*86400]),
                                          ('m s-1', [31*86.4e6, 28*86.4e6]), ('mm/hr', [31*24, 28*24])])
def test_units(units, factor):
    rain = (grid(2)/(25.4 if 'in' in units else 1)).assign_attrs(units=units)
    got = monthly_total(rain)
    np.testing.assert_allclose(got, rain*np.broadcast_to(factor, 2)[:, None, None], rtol=1e-6)
    assert got.units == (units if np.isscalar(factor) else 'mm/month') and got.dims == rain.dims

@pytest.mark.parametrize('units', ['K', 'degC', 'hPa', 'm3', '1', '%', ''])
def test_units_refused(tmp_path, units):
    rain = grid(2).assign_attrs(units=units); rain.to_netcdf(tmp_path/'r.nc')
    for source in rain,tmp_path/'r.nc':
        with pytest.raises(DataError, match='none of rain' if units else 'has no unit'): rain_target(source, 'IA')
    with pytest.raises(DataError, match='has no unit'): rain_target(rain.drop_attrs(), 'IA')

def test_rates_from_a_file_become_totals(tmp_path):
    rain = grid(3)
    (rain/rain.time.dt.days_in_month/86400).astype('float32').assign_attrs(units='kg m-2 s-1').rename('pr').to_netcdf(tmp_path/'r.nc')
    got = rain_target(tmp_path/'r.nc', 'IA')
    np.testing.assert_allclose(got, brute(rain, 'IA'), rtol=1e-5); assert got.units == 'mm/month'

# ---- every kind of file

@pytest.mark.parametrize('layout', ['bil', 'cog'])
def test_prism(tmp_path, layout):
    lat,lon = 40+np.arange(60)/24,-96+np.arange(120)/24
    rain = grid(14, lat, lon, start='1980-06').astype('float32')
    files = write_prism(rain, tmp_path, layout)
    region = (40.3, 42.1, -95.5, -91.3)
    for source in (tmp_path, str(tmp_path), files, [str(f) for f in files]):
        got = rain_target(source, region)
        np.testing.assert_allclose(got, brute(rain, region), rtol=1e-6)
        assert got.units == 'mm' and (got.time == rain.time).all()
    np.testing.assert_allclose(rain_target(files[0], region), brute(rain[:1], region), rtol=1e-6)

@pytest.mark.parametrize('name', ['precip', 'pr', 'tp', 'ppt', 'rainfall', 'thing'])
def test_gridded_netcdf(tmp_path, name):
    rain = grid()
    da_ = rain.rename(name)[:, ::-1].assign_coords(lon=rain.lon+360).rename(lat='latitude', lon='longitude')
    ds = da_.to_dataset()
    if name != 'thing': ds['tmax'] = da_.drop_attrs()+300
    ds.to_netcdf(tmp_path/'g.nc', encoding={name: dict(_FillValue=-9999.)})
    np.testing.assert_allclose(rain_target(tmp_path/'g.nc', 'midwest'), brute(rain, 'midwest'), rtol=1e-12)
    for k,part in enumerate((slice(0, 3), slice(3, 7))): ds.isel(time=part).to_netcdf(tmp_path/f'g{k}.nc')
    np.testing.assert_allclose(rain_target([tmp_path/'g1.nc', tmp_path/'g0.nc'], 'midwest'),
                               brute(rain, 'midwest'), rtol=1e-12)
    (tmp_path/'d').mkdir()
    [(tmp_path/f'g{k}.nc').rename(tmp_path/'d'/f'g{k}.nc') for k in (0, 1)]
    np.testing.assert_allclose(rain_target(tmp_path/'d', 'midwest'), brute(rain, 'midwest'), rtol=1e-12)

def test_which_variable(tmp_path):
    xr.Dataset(dict(pr=grid(), tp=grid(seed=1))).to_netcdf(tmp_path/'a.nc')
    xr.Dataset(dict(sst=grid(), slp=grid(seed=1))).to_netcdf(tmp_path/'b.nc')
    for f in 'ab':
        with pytest.raises(DataError, match='which variable is the rain'): rain_target(tmp_path/f'{f}.nc', 'IA')

def test_undeclared_fill_in_a_file(tmp_path):
    rain = grid(land=.9).fillna(-9999.); rain.to_netcdf(tmp_path/'g.nc', encoding=dict(ppt=dict(_FillValue=None)))
    with pytest.raises(DataError, match='no rain, like -9999.*_FillValue|-9999, which looks like a fill value'):
        rain_target(tmp_path/'g.nc', 'midwest')

def test_maps_by_state_and_feature(tmp_path):
    rain = grid(lat=np.arange(24.75, 52, .5), lon=np.arange(-125.25, -66, .5), n=2)
    for region,states in (('AZ,NM', ('AZ', 'NM')), ('all', CONTIGUOUS), ('NM,midwest,IA', ('NM', *MIDWEST_STATES))):
        got = rain_target(rain, region, by='state')
        assert tuple(got.output.values) == tuple(states) and got.units == 'mm'
        for s in states[:2]: np.testing.assert_allclose(got.sel(output=s), brute(rain, s), rtol=1e-12)
    square = lambda s, n, w, e: [[w, s], [e, s], [e, n], [w, n], [w, s]]
    tree = dict(type='FeatureCollection',
                features=[dict(type='Feature', properties=dict(name=k),
                               geometry=dict(type='Polygon', coordinates=[square(*b)]))
                          for k,b in dict(low=(30, 35, -100, -90), high=(40, 45.5, -110, -90)).items()])
    f = tmp_path/'two.geojson'; f.write_text(json.dumps(tree))
    got = rain_target(rain, f, by='feature')
    assert got.output.values.tolist() == ['low', 'high']
    np.testing.assert_allclose(got, np.c_[brute(rain, (30, 35, -100, -90)), brute(rain, (40, 45.5, -110, -90))],
                               rtol=1e-12)
    xr.testing.assert_identical(rain_target(rain, str(f), by='feature'), rain_target(rain, tree, by='feature'))
    both = rain_target(rain, f)
    assert both.dims == ('time',)
    lo,hi = (region_weights(b, rain.lat.values, rain.lon.values)+0*rain
             for b in ((30, 35, -100, -90), (40, 45.5, -110, -90)))
    a,b = (w.sum(('lat', 'lon')) for w in (lo, hi))
    np.testing.assert_allclose(both, (got[:, 0]*a+got[:, 1]*b)/(a+b), rtol=1e-9)
    for by,region,text in (('division', 'IA', 'is for rain by climate division'),
                           ('state', (37, 49, -104, -80), 'needs states'),
                           ('state', '37,49,-104,-80', 'needs states'), ('feature', 'IA', 'needs a GeoJSON'),
                           ('county', 'IA', 'by must be')):
        with pytest.raises(ConfigError, match=text): rain_target(rain, region, by)

def test_the_two_midwests():
    lat,lon = np.arange(30.25, 52, .5),np.arange(-110.25, -74, .5)
    assert region_weights('midwest', lat, lon).area != pytest.approx(region_weights(','.join(MIDWEST_STATES),
            lat, lon).area, rel=.01)
    rain = xr.DataArray(np.tile(lat[:, None], (1, 1, len(lon))), dict(time=months(1), lat=lat, lon=lon),
                        ('time', 'lat', 'lon'), attrs=dict(units='mm'))
    assert rain_target(rain)[0] == pytest.approx(brute(rain, 'midwest')[0])
    assert pick_divisions(table(), 'midwest').tolist() == [False, False, True, True,
            True] and division_means(table()).shape == (480,)
