"""Grids of cases for `mrtl.fields`: names, orders, calendars, formats, damaged files, and regridding against brute force."""
import cftime, numpy as np, pytest, xarray as xr
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.fields import box_mean, cell_edges, check_months, common_grid, decode_months, month_starts, open_fields, open_netcdf, overlap_area, regrid
from mrtl.grids import Grid

def make(n=30, lat=(-10., -5., 0., 5.), lon=(200., 205., 210., 215., 220.), name='sst', seed=0, start='1950-01'):
    time = (np.datetime64(start, 'M')+np.arange(n)).astype('datetime64[ns]')
    v = np.random.default_rng(seed).normal(size=(n, len(lat), len(lon)))
    return xr.DataArray(v, dict(time=time, lat=list(lat), lon=list(lon)), ('time', 'lat', 'lon'), name)

def opened(path, **kw):
    found, = open_fields(path, **kw)
    return found

def same(a, b): xr.testing.assert_allclose(a.reset_coords(drop=True), b, rtol=1e-12)

# ---- reading

@pytest.mark.parametrize('names', [('time', 'lat', 'lon'), ('time', 'latitude', 'longitude'), ('T', 'Y', 'X'), ('Time', 'LAT', 'LON')])
@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize('fmt', ['NETCDF4', 'NETCDF3_CLASSIC', 'NETCDF3_64BIT'])
def test_names_orders_formats(tmp_path, names, order, fmt):
    sst = make()
    attrs = dict(lat=dict(units='degrees_north'), lon=dict(standard_name='longitude'), time=dict(standard_name='time'))
    da = sst.copy()
    for k,a in attrs.items(): da[k].attrs.update(a)
    da = da.transpose(*[('time', 'lat', 'lon')[i] for i in order]).rename(dict(zip(('time', 'lat', 'lon'), names)))
    da.to_netcdf(tmp_path/'a.nc', format=fmt)
    got = opened(tmp_path/'a.nc')
    assert got.dims == ('time', 'lat', 'lon') and got.name == 'sst'
    same(got, sst)

@pytest.mark.parametrize('calendar', ['standard', 'proleptic_gregorian', 'noleap', '360_day', 'julian', 'all_leap'])
@pytest.mark.parametrize('day', [1, 15, 28])
@pytest.mark.parametrize('unit', ['days', 'hours'])
def test_calendars_and_stamps(tmp_path, calendar, day, unit):
    sst = make(30, start='1999-11')
    stamps = [cftime.datetime(t.dt.year.item(), t.dt.month.item(), day, calendar=calendar) for t in sst.time]
    units = f'{unit} since 1800-01-01'
    da = sst.assign_coords(time=('time', cftime.date2num(stamps, units, calendar), dict(units=units, calendar=calendar)))
    da.to_netcdf(tmp_path/'a.nc')
    same(opened(tmp_path/'a.nc'), sst)

@pytest.mark.parametrize('shift', [0., .5])
@pytest.mark.parametrize('calendar', ['360', '360_day', 'standard', None])
def test_months_since(tmp_path, shift, calendar):
    sst = make(30, start='1955-05')
    attrs = dict(units='months since 1960-01-01')|(dict(calendar=calendar) if calendar else {})
    sst.assign_coords(time=('time', np.arange(30)-56+shift, attrs)).to_netcdf(tmp_path/'a.nc')
    same(opened(tmp_path/'a.nc'), sst)

@pytest.mark.parametrize('times', [np.array(['2001-03-31T23:59:59', '2001-04-01'], 'M8[s]'), np.array(['2001-03', '2001-04'], 'M8[M]'),
    [cftime.DatetimeNoLeap(2001, 3, 16), cftime.DatetimeNoLeap(2001, 4, 16)], xr.DataArray(np.array(['2001-03-02', '2001-04-30'], 'M8[ns]'), dims='time')])
def test_month_starts(times):
    assert (month_starts(np.array(times, object) if isinstance(times, list) else times) == np.array(['2001-03', '2001-04'], 'M8[M]').astype('M8[ns]')).all()

@pytest.mark.parametrize('lon,want', [((-175., -170., -165.), (185., 190., 195.)), ((170., 175., -180., -175.), (170., 175., 180., 185.)), ((350., 355., 0., 5.), (-10., -5., 0., 5.)),
    ((-10., -5., 0., 5.), (-10., -5., 0., 5.)), (tuple(np.arange(-180., 180, 30)), tuple(np.arange(0., 360, 30))), ((220., 215., 210.), (210., 215., 220.)), ((0., 90., 180., 270., 360.), (0., 90., 180., 270.)), ((200.,), (200.,))])
@pytest.mark.parametrize('down', [False, True])
def test_longitudes_latitudes(tmp_path, lon, want, down):
    lat = (5., 0., -5.) if down else (-5., 0., 5.)
    da = make(5, lat, lon); da.to_netcdf(tmp_path/'a.nc'); got = opened(tmp_path/'a.nc')
    np.testing.assert_allclose(got.lon, want); np.testing.assert_allclose(got.lat, (-5., 0., 5.))
    for x in lon:
        for y in lat:
            mine = got.sel(lat=y).isel(lon=int(np.argmin(abs((got.lon.values-x+180)%360-180))))
            if x < 360: np.testing.assert_allclose(mine, da.sel(lat=y, lon=x))

def test_fill_values_packing_and_further_variables(tmp_path):
    sst,slp = make(),make(name='slp', seed=1)
    sst[:, 0, 0] = np.nan; sst[3, 1, 1] = np.nan
    ds = xr.Dataset(dict(sst=sst, slp=slp, mask=sst[0]>0, lat_bnds=(('lat', 'nv'), np.zeros((4, 2))))).expand_dims(depth=[5.])
    ds.to_netcdf(tmp_path/'a.nc', encoding=dict(sst=dict(dtype='int16', scale_factor=.001, _FillValue=-32768), slp=dict(_FillValue=-999.)))
    found = open_fields(tmp_path/'a.nc')
    assert [f.name for f in found] == ['sst', 'slp']
    assert np.array_equal(found[0].isnull(), sst.isnull()); np.testing.assert_allclose(found[0], sst, atol=6e-4); same(found[1], slp)
    assert [f.name for f in open_fields(tmp_path/'a.nc', ['slp', 'sst'])] == ['slp', 'sst']

def test_unsorted_times_are_sorted_and_files_joined(tmp_path):
    sst = make(36); perm = np.random.default_rng(0).permutation(36)
    sst[perm].to_netcdf(tmp_path/'a.nc'); same(opened(tmp_path/'a.nc'), sst)
    for i in range(3): sst[12*i:12*i+12].to_netcdf(tmp_path/f'{i}.nc')
    same(opened([tmp_path/f'{i}.nc' for i in (2, 0, 1)]), sst)
    with pytest.raises(DataError, match='12 months more than once, the first is 1951-01'): open_fields([tmp_path/'a.nc', tmp_path/'1.nc'])
    make(12, lat=(0., 5.), start='1960-01').to_netcdf(tmp_path/'b.nc')
    with pytest.raises(DataError, match='on another grid'): open_fields([tmp_path/'0.nc', tmp_path/'b.nc'])

@pytest.mark.parametrize('fmt', ['NETCDF4', 'NETCDF3_CLASSIC', 'NETCDF3_64BIT', 'NETCDF4_CLASSIC'])
@pytest.mark.parametrize('keep', [0, 3, 20, .1, .5, .9, .99])
@pytest.mark.parametrize('unlimited', [False, True])
def test_truncated_files(tmp_path, fmt, keep, unlimited):
    make(200).to_netcdf(tmp_path/'whole.nc', format=fmt, unlimited_dims=['time'] if unlimited else [])
    whole = (tmp_path/'whole.nc').read_bytes()
    (tmp_path/'cut.nc').write_bytes(whole[:keep if isinstance(keep, int) else int(keep*len(whole))])
    assert len(open_fields(tmp_path/'whole.nc')) == 1
    with pytest.raises(FormatError, match='cut.nc'): open_fields(tmp_path/'cut.nc')

def test_no_netcdf_and_no_file(tmp_path):
    (tmp_path/'a.nc').write_text('time,lat,lon\n'*1000)
    with pytest.raises(FormatError, match='a.nc.*fetch it again'): open_netcdf(tmp_path/'a.nc')
    with pytest.raises(DataError, match='no file'): open_netcdf(tmp_path/'b.nc')
    with pytest.raises(DataError, match='no ocean file'): open_fields([])

def test_refusals(tmp_path):
    sst = make()
    sst.to_netcdf(tmp_path/'a.nc')
    with pytest.raises(DataError, match='no variable so in the files: they hold sst'): open_fields(tmp_path/'a.nc', ['so'])
    sst.isel(time=[0, 1, 1]).to_netcdf(tmp_path/'b.nc')
    with pytest.raises(DataError, match='1950-02'): open_fields(tmp_path/'b.nc')
    sst.isel(time=0, drop=True).to_netcdf(tmp_path/'c.nc')
    with pytest.raises(DataError, match='no variable over time, latitude and longitude'): open_fields(tmp_path/'c.nc')
    sst.expand_dims(depth=[5., 15.]).to_netcdf(tmp_path/'d.nc')
    with pytest.raises(DataError, match='depth'): open_fields(tmp_path/'d.nc')
    sst.assign_coords(time=('time', np.arange(30), dict(units='fortnights'))).to_netcdf(tmp_path/'e.nc')
    with pytest.raises(DataError, match='e.nc.*CF units'): open_fields(tmp_path/'e.nc')
    sst.isel(time=slice(0, 0)).to_netcdf(tmp_path/'f.nc')
    with pytest.raises(DataError, match='empty'): open_fields(tmp_path/'f.nc')
    daily = sst[:2].assign_coords(time=np.array(['2000-01-01', '2000-01-02'], 'M8[ns]')); daily.to_netcdf(tmp_path/'g.nc')
    with pytest.raises(DataError, match='give monthly means'): open_fields(tmp_path/'g.nc')

# ---- regridding

def brute(da, lat, lon):
    "Area-weighted NaN-aware means, cell by cell, with longitudes compared on the circle."
    def edges(c): return np.r_[c[0]-(c[1]-c[0])/2, (c[:-1]+c[1:])/2, c[-1]+(c[1]-c[0])/2]
    (ya,xa),(yb,xb) = (edges(np.asarray(lat, float)), edges(np.asarray(lon, float))),(edges(da.lat.values), edges(da.lon.values))
    out = np.full((len(da), len(lat), len(lon)), np.nan)
    for t in range(len(da)):
        for i in range(len(lat)):
            for j in range(len(lon)):
                num = den = 0.
                for k in range(da.sizes['lat']):
                    y0,y1 = max(ya[i], yb[k]),min(ya[i+1], yb[k+1])
                    for l in range(da.sizes['lon']):
                        for turn in (-360, 0, 360):
                            x0,x1 = max(xa[j], xb[l]+turn),min(xa[j+1], xb[l+1]+turn)
                            v = da.values[t, k, l]
                            if y1-y0 > 1e-9 and x1-x0 > 1e-9 and np.isfinite(v):
                                a = (np.sin(np.deg2rad(y1))-np.sin(np.deg2rad(y0)))*(x1-x0); num += a*v; den += a
                if den > 0: out[t, i, j] = num/den
    return out

@pytest.mark.parametrize('lat,lon', [(np.arange(-7.5, 5, 5), np.arange(202.5, 220, 5)), (np.arange(-8., 4, 3.3), np.arange(201., 219, 2.1)), (np.array([-5., 5.]), np.array([203., 217.])), (np.arange(-20., 21, 10), np.arange(190., 231, 10))])
@pytest.mark.parametrize('missing', [0., .3])
def test_regrid_equals_brute_force(lat, lon, missing):
    da = make(3); da = da.where(np.random.default_rng(1).random(da.shape) >= missing)
    np.testing.assert_allclose(regrid(da, lat, lon).values, brute(da, lat, lon), rtol=1e-12)

def test_regrid_goes_round_the_globe():
    da = make(2, lat=(-45., 45.), lon=tuple(np.arange(15., 360, 30)))
    lon = np.arange(-40., 41, 20)
    np.testing.assert_allclose(regrid(da, [-45., 45.], lon).values, brute(da, [-45., 45.], lon), rtol=1e-12)

def test_regrid_equals_xarray_regrid():
    pytest.importorskip('xarray_regrid')
    da = make(2, tuple(np.arange(-28.75, 30, 2.5)), tuple(np.arange(182.5, 288, 5)))
    lat,lon = np.arange(-27.5, 28, 5),np.arange(187., 280, 7)  # rows nest: where they do not, that library weighs parts of a cell by the whole cell's latitude
    target = xr.Dataset(coords=dict(lat=lat, lon=lon))
    theirs = da.regrid.conservative(target, latitude_coord='lat').transpose('time', 'lat', 'lon')
    np.testing.assert_allclose(regrid(da, lat, lon).values, theirs.values, atol=1e-6)

def test_regrid_keeps_constants_and_poles():
    da = make(2, lat=tuple(np.arange(-90., 91, 2.5)), lon=tuple(np.arange(0., 360, 2.5)))*0+7
    got = regrid(da, np.arange(-87.5, 88, 5), np.arange(2.5, 360, 5))
    np.testing.assert_allclose(got, 7.)
    np.testing.assert_allclose(regrid(da, da.lat.values, np.arange(5., 360, 5)), 7., err_msg='rows centred on the poles have an area, up to the pole')

def test_land_stays_land():
    da = make(4).where(lambda d: (d.lon < 210)|(d.lat > 0))
    got = regrid(da, np.array([-7.5, -2.5, 2.5]), np.array([202.5, 207.5, 212.5, 217.5]))
    assert np.isnan(got.values[:, 0, 2:]).all() and np.isfinite(got.values[:, :, 0]).all()
    np.testing.assert_allclose(got.values[:, 0, 1], brute(da, got.lat, got.lon)[:, 0, 1])

# ---- one grid

KAPLAN,HADSLP = (tuple(np.arange(-27.5, 28, 5)), tuple(np.arange(182.5, 288, 5))),(tuple(np.arange(-25., 26, 5)), tuple(np.arange(185., 286, 5)))

def test_half_a_cell_apart():
    a,b = make(40, *KAPLAN),make(30, *HADSLP, name='slp', start='1951-01')
    out = common_grid([a, b])
    assert out.shape == (28, 2, 11, 21) and list(out['variable'].values) == ['sst', 'slp'] and str(out.time.values[0])[:7] == '1951-01'
    np.testing.assert_allclose(out.sel(variable='slp'), b[:28]); v = a.values[12:40]
    four = (v[:, :-1, :-1]+v[:, 1:, :-1]+v[:, :-1, 1:]+v[:, 1:, 1:])/4
    np.testing.assert_allclose(out.sel(variable='sst')[:, 5], four[:, 5], rtol=1e-10)
    np.testing.assert_allclose(out.sel(variable='sst'), four, atol=.08)
    xr.testing.assert_allclose(common_grid([b, a]).sel(variable='sst'), out.sel(variable='sst'))

def test_choices_of_grid():
    coarse,fine = make(5, (-10., 0., 10.), (200., 210., 220., 230.)),make(5, tuple(np.arange(-14., 15, 2)), tuple(np.arange(196., 225, 2)), 'slp')
    assert common_grid([coarse, fine]).shape == (5, 2, 3, 3), 'cells that the finer field does not cover are left out'
    assert common_grid([coarse, fine], 'slp').shape == (5, 2, 15, 15)
    g = Grid((2, 3), y=(-10, 10), x=(195, 225), names=('lat', 'lon'), sphere=True)
    out = common_grid([coarse, fine], g)
    assert out.shape == (5, 2, 2, 3); np.testing.assert_allclose(out.lat, g.y_centres); np.testing.assert_allclose(out.lon, g.x_centres)
    with pytest.raises(ConfigError, match='onto'): common_grid([coarse, fine], 'finest')

def test_nothing_in_common():
    a = make(12)
    with pytest.raises(DataError, match='sst runs from 1950-01 to 1950-12; slp runs from 1960-01 to 1960-12'): common_grid([a, make(12, name='slp', start='1960-01')])
    with pytest.raises(DataError, match='no place in common'): common_grid([a, make(12, lat=(40., 45.), name='slp')])
    with pytest.raises(DataError, match='one name'): common_grid([a, a])
    with pytest.raises(DataError, match='equally spaced'): common_grid([a, make(12, lat=(-10., -5., 0., 7.), name='slp')])

def test_box_mean_equals_fine_sampling():
    da = make(3, tuple(np.arange(-10., 11, 5)), tuple(np.arange(185., 246, 5)))
    yy,xx = np.arange(-5+.05, 5, .1),np.arange(190+.05, 240, .1)
    i,j = np.searchsorted(cell_edges(da.lat), yy, 'right')-1,np.searchsorted(cell_edges(da.lon), xx, 'right')-1
    w = np.cos(np.deg2rad(yy)); fine = (da.values[:, i][:, :, j]*w[:, None]).sum((1, 2))/(w.sum()*len(xx))
    np.testing.assert_allclose(box_mean(da, (-5, 5), (190, 240)), fine, rtol=1e-5)
    land = da.where(da.lon < 210)
    assert box_mean(land, (-5, 5), (190, 240)).isnull().all() and box_mean(land, (-5, 5), (190, 215)).notnull().all()

def test_check_months():
    m = (np.datetime64('2000-01', 'M')+np.arange(6)).astype('M8[ns]')
    check_months(m, 'it', every=True); check_months(m[[0, 2, 5]], 'it')
    for bad,kw,text in (([0, 0, 1], {}, '1 months more than once'), ([0, 1, 3], dict(every=True), '2000-03 is missing')):
        with pytest.raises(DataError, match=text): check_months(m[bad], 'it', **kw)

def test_decoded_times_pass():
    t = xr.DataArray(np.array(['2001-03-02', '2001-04-30'], 'M8[ns]'), dims='time')
    assert (decode_months(t) == month_starts(t)).all()
