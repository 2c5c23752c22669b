"""Ocean archives in the layouts of their makers: written, opened lazily, damaged on purpose, and fetched from a
server on this machine."""
import http.server, sys, threading, zipfile
from contextlib import contextmanager
from pathlib import Path
import dask, dask.array, netCDF4, numpy as np, pytest, xarray as xr
import mrtl.climate.archives as archives, mrtl.climate.fields as fields
from mrtl.climate.archives import EN4_DEPTHS, SOURCES, download, en4_month, pack_short, write_en4
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.climate.fields import check_months
from mrtl.climate.fields import common_grid, open_fields, select_box

def sea(n=14, start='1950-03', lat=range(-3, 4), lon=range(176, 186), seed=0, hole=.1):
    rng = np.random.default_rng(seed); lat,lon = np.array(lat, float),np.array(lon, float)
    time = (np.datetime64(start, 'M')+np.arange(n)).astype('M8[ns]')
    land = rng.random((len(lat), len(lon))) < hole
    field = lambda mean: (('time', 'lat', 'lon'),
                          np.where(land, np.nan, mean+rng.normal(size=(n, len(lat), len(lon)))).astype('f4'))
    return xr.Dataset(dict(temperature=field(290), salinity=field(34)), dict(time=time, lat=lat, lon=lon))

def member(path, month):
    "One month of a small sea as a file of its own."
    file, = write_en4(sea(1, month), path, zipped=False)
    return file

def edit(file, change):
    with netCDF4.Dataset(file, 'a') as nc:
        nc.set_auto_maskandscale(False); change(nc)

def zipped(path, *files):
    with zipfile.ZipFile(path, 'w') as z:
        for f in files: z.write(f, Path(f).name)
    return path

# ---- the layout

@pytest.mark.parametrize('version,analysis,is_zip,levels,start',
                         [('4.2.2', 'g10', True, 2, '1950-03'), ('4.2.0', 'l09', True, 1, '1950-11'),
                          ('4.2.1', 'c14', False, 42, '1950-03')])
def test_layout(tmp_path, version, analysis, is_zip, levels, start):
    n = 14 if levels == 2 else 3; ds = sea(n, start); paths = write_en4(ds, tmp_path, version, is_zip, levels, analysis)
    names = [f"EN.{version}.f.analysis.{analysis}.{str(t)[:7].replace('-', '')}.nc" for t in ds.time.values[[0, -1]]]
    if is_zip:
        assert [p.name for p in paths] == [f'EN.{version}.analyses.{analysis}.{y}.zip' for y in (1950, 1951)]
        with zipfile.ZipFile(paths[0]) as z:
            assert len(z.namelist()) == (ds.time.dt.year == 1950).sum() and z.namelist()[0] == names[0]
            data = z.read(names[0])
    else:
        assert len(paths) == n and paths[0].name == names[0] and paths[-1].name == names[1]
        data = paths[0].read_bytes()
    with netCDF4.Dataset('m', memory=data) as nc:
        nc.set_auto_maskandscale(False)
        assert {d: (len(v), v.isunlimited()) for d,v in nc.dimensions.items()} == dict(time=(1, True),
                depth=(levels, False), lat=(173, False), lon=(360, False), bnds=(2, False))
        assert set(nc.variables) == {'time', 'depth', 'lat', 'lon', 'time_bnds', 'depth_bnds'}|{f'{v}{s}'
                for v in ('temperature', 'salinity') for s in ('', '_uncertainty', '_observation_weights')}
        T = nc['temperature']
        assert (T.dimensions == ('time', 'depth', 'lat', 'lon') and T.dtype == np.int16 and T._FillValue == -32768
                and T.units == 'kelvin' and T.standard_name == 'sea_water_potential_temperature')
        assert (T.valid_min, T.valid_max) == (-5, 45) and abs(T.scale_factor-.001678) < 1e-9 and abs(T.add_offset
                -288.4) < 1e-9 and nc['salinity'].units == 'psu'
        assert all(nc[k].dtype == np.float32
                   for k in ('time', 'depth', 'lat',
                             'lon')) and nc['depth'][0] == np.float32(5.02159) and nc['depth'].positive == 'down'
        assert (nc['lat'][[0, -1]] == [-83, 89]).all() and (nc['lon'][[0, -1]]
                == [1, 360]).all() and nc['time'].units == 'days since 1800-01-01 00:00:00'
        assert (str(netCDF4.num2date(nc['time'][0], nc['time'].units))[:7] == start and nc.Conventions == 'CF-1.0'
                and nc.institution == 'UK Met Office')
        assert [str(netCDF4.num2date(t, nc['time'].units))[:10] for t in nc['time_bnds'][0]] == [f'{start}-01',
                f"{np.datetime64(start, 'M')+1}-01"]
        assert (nc['temperature_uncertainty'][:] == -32768).all()
        mine = T[0, 0, 80:87, 175:185]*T.scale_factor+T.add_offset
        np.testing.assert_allclose(mine[np.isfinite(ds.temperature[0])],
                                   ds.temperature.values[0][np.isfinite(ds.temperature[0])], atol=.00085)
        assert (np.delete(T[0, 0], range(80, 87), 0) == -32768).all() and (T[0, 0, 80:87,
                175:185][np.isnan(ds.temperature.values[0])] == -32768).all()
        if levels > 1: assert np.median(T[0, 0, 80:87, 175:185]-T[0, 1, 80:87, 175:185]) == round(.25/.001678)

@pytest.mark.parametrize('lon', [range(176, 186), range(-5, 6), (178, 179, 180, -179, -178), range(1, 361)])
@pytest.mark.parametrize('is_zip', [True, False])
def test_round_trip(tmp_path, lon, is_zip):
    ds = sea(3, '1950-11', lon=lon); write_en4(ds, tmp_path, zipped=is_zip)
    T,S = open_fields(tmp_path)
    assert (T.name, S.name) == ('temperature',
                                'salinity') and T.dtype == S.dtype == np.float32 and T.shape == (3, 173, 360)
    assert (T.lat.values == np.arange(-83, 90)).all() and (T.lon.values == np.arange(1,
            361)).all() and (T.time.values == ds.time.values).all()
    assert T.attrs['units'] == 'kelvin' and 'valid_min' not in T.attrs
    turned = ds.assign_coords(lon=(ds.lon-1)%360+1)
    for got,name,half in ((T, 'temperature', .00085), (S, 'salinity', .00077)):
        here = got.sel(lat=ds.lat, lon=turned.lon).values
        assert np.array_equal(np.isnan(here), np.isnan(ds[name])); np.testing.assert_allclose(here, ds[name], atol=half)
        assert np.isfinite(got.values).sum() == np.isfinite(ds[name].values).sum(), 'nothing else on the globe'

def test_other_variables_by_name(tmp_path):
    write_en4(sea(2), tmp_path)
    u,T = open_fields(tmp_path, ['temperature_uncertainty', 'temperature'])
    assert u.name == 'temperature_uncertainty' and u.isnull().all() and T.notnull().any()
    with pytest.raises(DataError, match='no variable sst in the files: they hold temperature'):
        open_fields(tmp_path, ['sst'])

def test_real_depth_order_does_not_matter(tmp_path):
    f = member(tmp_path, '1950-01')
    with xr.open_dataset(f, mask_and_scale=False, decode_times=False) as ds: upside = ds.isel(depth=[1, 0]).load()
    upside.to_netcdf(f)
    want = sea(1, '1950-01').temperature; got = open_fields(f)[0].sel(lat=want.lat, lon=want.lon)
    np.testing.assert_allclose(got, want, atol=.001)

@pytest.fixture(scope='module')
def both(tmp_path_factory):
    "A sea of fourteen months, as zips and as single files."
    ds = sea(14, '1950-01')
    return ds,write_en4(ds, tmp_path_factory.mktemp('zips')),write_en4(ds,
            tmp_path_factory.mktemp('singles'), zipped=False)

@pytest.mark.parametrize('mixture', ['zips', 'files', 'both', 'folder', 'reversed'])
def test_zips_files_and_folders(both, mixture):
    ds,zips,singles = both
    given = dict(zips=zips, files=singles, both=[zips[1], *singles[:12]], folder=str(zips[0].parent),
                 reversed=[*reversed(singles)])[mixture]
    T, = open_fields(given, ['temperature'])
    assert T.shape[0] == 14 and (T.time.values == ds.time.values).all() and T.chunks[0] == (1,)*14
    np.testing.assert_allclose(T.sel(lat=ds.lat, lon=ds.lon), ds.temperature, atol=.001)

def test_a_zip_of_years_in_folders_inside(tmp_path):
    f = member(tmp_path, '1950-01')
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z:
        z.write(f, f'1950/{f.name}')
        z.writestr('README.txt', 'hello')
        z.writestr(f'__MACOSX/._{f.name}', b'x')
    assert open_fields(tmp_path/'a.zip')[0].shape == (1, 173, 360)

def test_an_unknown_name_is_read_by_its_time_axis(tmp_path):
    a,b = member(tmp_path/'a', '1950-01'),member(tmp_path/'b', '1950-02')
    T,S = open_fields([a.rename(tmp_path/'january.nc'), zipped(tmp_path/'z.zip', b.rename(tmp_path/'february.nc'))])
    assert ([str(t)[:7] for t in T.time.values] == ['1950-01', '1950-02'] and T.attrs['units'] == 'kelvin'
            and T.notnull().sum(['lat', 'lon']).values.min() > 50)

# ---- lazily

@pytest.fixture
def opened(monkeypatch):
    "Which sources were opened, in order."
    seen,real = [],fields.opened
    def spy(*source): seen.append(source); return real(*source)
    monkeypatch.setattr(fields, 'opened', spy)
    return seen

def test_only_the_wanted_months_are_read(both, opened):
    T,S = open_fields(both[1]); assert len(opened) == 1, 'one header'
    g = select_box(common_grid([T, S]), (-4, 3), (-180, 180)); assert len(opened) == 1 and g.chunks is not None
    opened.clear(); part = g.isel(time=slice(5, 9)).values
    assert sorted(m for _,m in opened) == [f'EN.4.2.2.f.analysis.g10.1950{m:02d}.nc'
                                           for m in (6, 7, 8, 9)], 'each month once, for both variables'
    assert part.shape == (4, 2, 7, 360)
    opened.clear(); T.isel(time=-1).values; assert len(opened) == 1

def test_fourteen_hundred_months_open_by_name(tmp_path, opened):
    first = member(tmp_path, '1900-01')
    months = [str(m).replace('-', '') for m in np.datetime64('1900-01', 'M')+np.arange(1, 1400)]
    for m in months: (tmp_path/f'EN.4.2.2.f.analysis.g10.{m}.nc').write_bytes(b'')
    T,S = open_fields(tmp_path)
    assert T.shape == (1400, 173, 360) and str(T.time.values[-1])[:7] == '2016-08' and len(opened) == 1
    assert T[0].notnull().any()
    with pytest.raises(FormatError, match=r'g10.190107.nc.*fetch it again'): T.sel(time='1901-07').values

@pytest.mark.parametrize('scheduler', ['sync', 'threads'])
def test_schedulers_agree(tmp_path, scheduler):
    ds = sea(12, '1950-01'); write_en4(ds, tmp_path); g = common_grid(open_fields(tmp_path))
    with dask.config.set(scheduler=scheduler, num_workers=4): got = g.values
    np.testing.assert_allclose(got[:, 0][:, 80:87, 175:185], ds.temperature, atol=.001)

def test_lazy_is_eager(tmp_path):
    ds = sea(5); write_en4(ds, tmp_path); T,S = open_fields(tmp_path)
    lat,lon = np.arange(-2.5, 3, 2),np.arange(177.25, 184, 1.5)
    for onto in ('coarsest', 'salinity', fields.Grid((3, 4), (-3, 3), (176, 184), ('lat', 'lon'), True)):
        lazy,eager = common_grid([T, S], onto),common_grid([T.compute(), S.compute()], onto)
        assert (lazy.chunks is not None and eager.chunks is None and lazy.dtype == eager.dtype == np.float64
                and lazy.attrs == eager.attrs)
        assert np.array_equal(lazy.values, eager.values, equal_nan=True)
        xr.testing.assert_identical(lazy.compute(), eager)
    a,b = fields.regrid(T, lat, lon),fields.regrid(T.compute(), lat, lon)
    assert a.chunks is not None and np.array_equal(a.values, b.values, equal_nan=True) and np.isfinite(b).any()

def test_writing_computes_a_year_at_a_time(tmp_path):
    ds = sea(36, '1950-01'); seen = []
    def block(x, block_info=None):
        seen.append(block_info[0]['array-location'][0][0]); return x
    slow = ds.chunk(time=1).map(lambda v: v.copy(data=v.data.map_blocks(block, dtype=v.dtype,
            meta=np.zeros((0, 0, 0), v.dtype))))
    order = []; real = archives._write_zip
    archives._write_zip = lambda path, *a: (order.append(len(seen)), Path(path).touch())
    try: write_en4(slow, tmp_path)
    finally: archives._write_zip = real
    assert order == [24, 48, 72]

def test_writing_is_repeatable_and_replaces(tmp_path):
    a = [p.read_bytes() for p in write_en4(sea(3), tmp_path, zipped=False)]
    b = [p.read_bytes() for p in write_en4(sea(3), tmp_path, zipped=False)]
    assert a == b and len(list(tmp_path.iterdir())) == 3, 'no temporary file is left'
    ds = sea(3)
    write_en4([ds.temperature, ds.salinity], tmp_path/'list')
    assert len(list((tmp_path/'list').iterdir())) == 1

@pytest.mark.parametrize('change,text', [
    (lambda d: d.drop_vars('salinity'), 'salinity is missing'),
    (lambda d: d.assign(temperature=d.temperature-273.15), 'must be in kelvin.*convert its unit'),
    (lambda d: d.assign(temperature=d.temperature.assign_attrs(units='degC')), 'its unit is degC'),
    (lambda d: d.assign_coords(lat=d.lat+.5), 'whole degrees.*regrid'),
    (lambda d: d.assign_coords(lat=d.lat-82), 'latitudes -85'), (lambda d: d.isel(time=[0, 1, 1]), '1950-04'),
    (lambda d: d.assign_coords(lon=d.lon*180), 'whole degrees'),
    (lambda d: d.assign(salinity=d.salinity.isel(time=0, drop=True)), 'over time, lat and lon'),
    (lambda d: d.assign(salinity=d.salinity*10), 'salinity must be in psu')])
def test_what_cannot_be_written(tmp_path, change, text):
    with pytest.raises(DataError, match=text): write_en4(change(sea(3)), tmp_path)
    assert not list(tmp_path.rglob('*.zip')) and not list(tmp_path.rglob('.*')), 'nothing half written'

@pytest.mark.parametrize('levels', [0, 43])
def test_levels(tmp_path, levels):
    with pytest.raises(ConfigError, match='1 to 42'): write_en4(sea(1), tmp_path, levels=levels)

def test_packing_is_the_nearest_short():
    x = np.random.default_rng(0).uniform(234, 343, 1000); raw = pack_short(x, 'temperature')
    assert raw.dtype == np.int16 and abs(raw*.001678+288.4-x).max() <= .000839+1e-9 and raw.min() > -32768
    assert len(EN4_DEPTHS) == 42 and (np.diff(EN4_DEPTHS) > 0).all()
    one = en4_month(dict(temperature=np.full((173, 360), 280.), salinity=np.full((173, 360), 35.)),
                    np.datetime64('2000-12-01T00', 'ns'), 3)
    np.testing.assert_allclose(one.depth_bnds[:, 0], [0, 10.05, 20.12], atol=.01)
    assert (one.time_bnds[0, 1]-one.time_bnds[0, 0]) == 31

# ---- what goes wrong at opening

def test_damaged_zips(tmp_path):
    whole, = write_en4(sea(3), tmp_path/'a'); data = whole.read_bytes(); z = tmp_path/'EN.4.2.2.analyses.g10.1950.zip'
    for bad in (data[:len(data)//2], data[:-30], b'<html>not found</html>', b''):
        z.write_bytes(bad)
        with pytest.raises(FormatError, match='1950.zip.*cannot be read as a zip.*fetch it again'): open_fields(z)
    with zipfile.ZipFile(z, 'w') as f: f.writestr('PRISM_ppt.bil', b'1234')
    with pytest.raises(DataError, match='holds no netCDF file but PRISM_ppt.bil'): open_fields(z)
    with zipfile.ZipFile(z, 'w'): pass
    with pytest.raises(DataError, match='but nothing'): open_fields(z)
    (tmp_path/'empty').mkdir()
    with pytest.raises(DataError, match="folder.*empty' holds no netCDF"): open_fields(tmp_path/'empty')
    with pytest.raises(DataError, match="no file.*195001.nc': check the path"):
        open_fields([whole, tmp_path/'EN.4.2.2.f.analysis.g10.195001.nc'])

@pytest.mark.parametrize('at', ['first', 'later'])
def test_damaged_member(tmp_path, at):
    whole, = write_en4(sea(3, '1950-01'), tmp_path/'a'); data = bytearray(whole.read_bytes())
    with zipfile.ZipFile(whole) as z: info = z.infolist()[0 if at == 'first' else 2]
    for k in range(200): data[info.header_offset+60+info.compress_size//2+k] ^= 0x5a
    bad = tmp_path/whole.name; bad.write_bytes(data)
    with pytest.raises(FormatError, match=f"{info.filename}' in .*1950.zip.*fetch it again"): open_fields(bad)[0].values
    if at == 'later': assert open_fields(bad)[0][:2].notnull().any(), 'the months before it can be read'

@pytest.mark.parametrize('keep', [0, 100, .5, .97])
@pytest.mark.parametrize('fmt', ['NETCDF4', 'NETCDF3_CLASSIC'])
def test_cut_off_member(tmp_path, keep, fmt):
    a,b = member(tmp_path, '1950-01'),member(tmp_path, '1950-02')
    if fmt != 'NETCDF4':
        with xr.open_dataset(b, mask_and_scale=False, decode_times=False) as ds: old = ds.load()
        old.to_netcdf(b, format=fmt)
    data = b.read_bytes(); b.write_bytes(data[:int(keep*len(data)) if isinstance(keep, float) else keep])
    T = open_fields(zipped(tmp_path/'x.zip', a, b))[0]
    with pytest.raises(FormatError, match="195002.nc' in .*x.zip.*cut short"): T.values
    with pytest.raises(FormatError, match='195002.nc.*cut short'): open_fields([a, b])[0].values

def test_one_month_in_two_files(both):
    _,zips,singles = both
    with pytest.raises(DataError, match=r"temperature has 6 months more than once, the first is 1950-09 \(in .*1950.zip' and in .*singles0/EN.4.2.2.f.analysis.g10.195009.nc'\)"):
        open_fields([*zips, *singles[8:]])
    with pytest.raises(DataError, match='1950-01'): open_fields([zips[0], zips[0]])

def test_two_analyses_are_not_joined(tmp_path):
    write_en4(sea(2, '1950-01'), tmp_path); write_en4(sea(2, '1951-01'), tmp_path, version='4.2.1')
    with pytest.raises(DataError, match='two analyses, EN.4.2.1 g10 and EN.4.2.2 g10|two analyses, '
                       'EN.4.2.2 g10 and EN.4.2.1 g10'):
        open_fields(tmp_path)

def test_a_preliminary_month_is_of_the_same_analysis(tmp_path):
    a,b = member(tmp_path, '1950-01'),member(tmp_path, '1950-02'); b.rename(tmp_path/b.name.replace('.f.', '.p.'))
    assert open_fields(tmp_path)[0].shape[0] == 2

def test_a_missing_month_is_left_to_the_caller(tmp_path):
    write_en4(sea(6, '1950-01').isel(time=[0, 1, 3, 4, 5]), tmp_path); T = open_fields(tmp_path)[0]
    assert T.shape[0] == 5
    with pytest.raises(DataError, match='EN4 must have every month from 1950-01 to 1950-06; 1950-03 is missing'):
        check_months(T.time.values, 'EN4', every=True)

# ---- what goes wrong at reading

def set_units(var, to):
    def change(nc):
        if to is None: nc[var].delncattr('units')
        else: nc[var].units = to
    return change

@pytest.mark.parametrize('units,text', [(None, 'its unit is missing'), ('furlong', 'its unit is furlong')])
def test_units_of_temperature(tmp_path, units, text):
    f = member(tmp_path, '1950-01'); edit(f, set_units('temperature', units))
    with pytest.raises(DataError, match=f'195001.nc.*must be in kelvin or degC; {text}'): open_fields(f)

@pytest.mark.parametrize('units', ['kelvin', 'K', 'Kelvin', 'degrees_kelvin'])
def test_spellings_of_kelvin(tmp_path, units):
    files = [member(tmp_path, m) for m in ('1950-01', '1950-02')]; edit(files[1], set_units('temperature', units))
    assert open_fields(files)[0].shape[0] == 2 and np.nanmin(open_fields(files)[0]) > 280

def shift(by):
    def change(nc): nc['temperature'].add_offset = 288.4+by
    return change

def test_celsius_is_read_where_it_says_so(tmp_path):
    f = member(tmp_path, '1950-01'); edit(f, lambda nc: (shift(-273.15)(nc), set_units('temperature', 'degC')(nc)))
    T = open_fields(f)[0]; assert T.attrs['units'] == 'degC' and 10 < np.nanmean(T) < 25

@pytest.mark.parametrize('units,by', [('kelvin', -273.15), ('degC', 0.)])
def test_a_unit_that_is_not_true(tmp_path, units, by):
    f = member(tmp_path, '1950-01')
    edit(f, lambda nc: (shift(by)(nc), set_units('temperature', units)(nc)))
    T = open_fields(f)[0]
    with pytest.raises(DataError, match=r'said to be in (K|degC), but \d+ of its values lie outside'): T.values

def test_two_units_in_two_files(tmp_path):
    a,b = member(tmp_path, '1950-01'),member(tmp_path, '1950-02'); edit(b, set_units('salinity', 'g/kg'))
    with pytest.raises(DataError, match='salinity has the unit psu in .*195001.nc.* and g/kg in .*195002.nc'):
        open_fields([a, b])[0].values

def test_name_and_time_axis_disagree(tmp_path):
    a,b = member(tmp_path, '1950-01'),member(tmp_path, '1950-02')
    c = b.rename(tmp_path/'EN.4.2.2.f.analysis.g10.195007.nc')
    T = open_fields([a, c])[0]
    with pytest.raises(DataError, match='195007.nc.* should hold 1950-07 by its name, but its time axis says 1950-02'):
        T.values
    assert T[0].notnull().any()

def test_two_months_in_a_file_of_one(tmp_path):
    a = member(tmp_path, '1950-01')
    with xr.open_dataset(a, mask_and_scale=False, decode_times=False) as ds: one = ds.load()
    xr.concat([one, one.assign_coords(time=one.time+31).assign(time_bnds=(one.time_bnds.dims,
            one.time_bnds.values+[31, 28]))], 'time', data_vars='minimal').to_netcdf(a, unlimited_dims=['time'])
    with pytest.raises(DataError, match='should hold 1950-01 by its name, but its time axis says 1950-01, 1950-02'):
        open_fields(a)[0].values

def test_another_grid(tmp_path):
    a,b = member(tmp_path, '1950-01'),member(tmp_path, '1950-02')
    edit(b, lambda nc: nc['lat'].__setitem__(slice(None), np.arange(-83, 90)+.25))
    T = open_fields([a, b])[0]
    with pytest.raises(DataError, match='195002.nc.*on another grid than .*195001.nc'): T.values

def test_no_surface(tmp_path):
    f = member(tmp_path, '1950-01'); edit(f, lambda nc: nc['depth'].__setitem__(slice(None), [100., 200.]))
    with pytest.raises(DataError, match='no surface level: its 2 depths begin at 100'): open_fields(f)
    edit(f, lambda nc: (nc['depth'].__setitem__(slice(None), [.05, .1]), setattr(nc['depth'], 'units', 'km')))
    with pytest.raises(DataError, match='no surface level'): open_fields(f)

def test_a_variable_is_missing_in_a_later_file(tmp_path):
    a,b = member(tmp_path, '1950-01'),member(tmp_path, '1950-02')
    edit(b, lambda nc: nc.renameVariable('salinity', 'salt'))
    with pytest.raises(DataError, match="195002.nc.* has no salinity, unlike .*195001.nc"):
        open_fields([a, b])[1].values

def test_undeclared_fill_in_en4(tmp_path):
    f = member(tmp_path, '1950-01')
    with xr.open_dataset(f, mask_and_scale=False, decode_times=False) as ds: raw = ds.load()
    del raw.temperature.attrs['_FillValue']; raw.to_netcdf(f)
    n = int((raw.temperature[0, 0] == -32768).sum())
    with pytest.raises(DataError, match=f'temperature in .*195001.nc.* holds {n} times -32768, which '
                       f'looks like a fill value'):
        open_fields(f)[0].values

# ---- ERSST

def ersst_month(path, month, fill=-999., declared=True, lev=True):
    rng = np.random.default_rng(int(month.replace('-', '')))
    x = rng.normal(15, 2, (1, 89, 180)).astype('f4')
    x[:, 40:50, 20:30] = fill
    dims = ('time', 'lev', 'lat', 'lon') if lev else ('time', 'lat', 'lon'); x = x[:, None] if lev else x
    ds = xr.Dataset({v: (dims, y, dict(units='degree_C')
                         |(dict(_FillValue=np.float32(fill), valid_min=np.float32(-3 if v == 'sst' else -12))
                           if declared else {})) for v,y in (('sst', x),
            ('ssta', np.where(x == fill, fill, x-15).astype('f4')))},
        dict(time=('time', [0.], dict(units=f'days since {month}-15')), lat=np.arange(-88., 89, 2),
             lon=np.arange(0., 360, 2))|(dict(lev=('lev', [0.])) if lev else {}))
    name = path/f"ersst.v5.{month.replace('-', '')}.nc"
    path.mkdir(exist_ok=True)
    ds.to_netcdf(name, format='NETCDF3_CLASSIC')
    return name,x.reshape(89, 180)

def test_ersst(tmp_path, opened):
    months = [str(m) for m in np.datetime64('1854-01', 'M')+np.arange(15)]
    want = np.stack([ersst_month(tmp_path, m)[1] for m in months])
    sst,ssta = open_fields(tmp_path); assert len(opened) == 1
    assert (sst.name, ssta.name) == ('sst', 'ssta') and sst.shape == (15, 89,
            180) and sst.dtype == np.float32 and str(sst.time.values[0])[:7] == '1854-01'
    np.testing.assert_array_equal(np.nan_to_num(sst.values, nan=-999), want)
    np.testing.assert_allclose(ssta, sst-15, atol=1e-5)

def test_ersst_years_join_months(tmp_path):
    parts = [xr.open_dataset(ersst_month(tmp_path/'m', f'1950-{m:02d}')[0], decode_times=False).load()
             for m in range(1, 13)]
    for i,p in enumerate(parts): p['time'] = ('time', [float(i)], dict(units='months since 1950-01-01'))
    xr.concat(parts, 'time').to_netcdf(tmp_path/'ersst.v5.1950.nc'); extra,_ = ersst_month(tmp_path, '1951-01')
    sst = open_fields([extra, tmp_path/'ersst.v5.1950.nc'], ['sst'])[0]
    assert sst.shape[0] == 13 and np.isnan(sst.values[:, 45, 25]).all() and np.isfinite(sst.values[:, 0, 0]).all()

def test_ersst_undeclared_fill(tmp_path):
    ersst_month(tmp_path, '1950-01')
    ersst_month(tmp_path, '1950-02', declared=False)
    sst = open_fields(tmp_path)[0]
    assert sst[0].isnull().sum() == 100
    with pytest.raises(DataError, match='sst in .*195002.nc.* holds 100 times -999'): sst.values

def test_en4_beside_ersst(tmp_path):
    ds = sea(3, '1950-01', lat=range(-10, 11), lon=range(170, 200), hole=0); write_en4(ds, tmp_path/'en4')
    for m in ('1950-02', '1950-03', '1950-04'): ersst_month(tmp_path/'ersst', m)
    T,S,sst,ssta = open_fields([tmp_path/'en4', tmp_path/'ersst'])
    g = select_box(common_grid([T, sst]), (-8, 8), (175, -165))
    assert g.shape == (2, 2, 8, 10) and g.chunks is not None and np.isfinite(g.values).all()
    assert abs(g.sel(variable='temperature').values-290).max() < 3

# ---- fetching

class Server:
    "Plays an archive on this machine: path to bytes, a status, or 'cut'."
    def __init__(self, files): self.files,self.asked = files,[]
    @contextmanager
    def run(self):
        me = self
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args): pass
            def do_GET(self):
                me.asked.append(self.path); what = me.files.get(self.path.lstrip('/'), 404)
                if isinstance(what, int): return self.send_error(what)
                cut = isinstance(what, tuple); data = what[0] if cut else what
                self.send_response(200)
                self.send_header('Content-Length', str(len(data)*(2 if cut else 1)))
                self.end_headers(); self.wfile.write(data)
        with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True); thread.start()
            try: yield f'http://127.0.0.1:{server.server_port}'
            finally: server.shutdown(); thread.join(10)

@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for k in ('NO_PROXY', 'no_proxy'): monkeypatch.setenv(k, '127.0.0.1')

NC,ZIP = b'CDF\x01 body',b'PK\x03\x04 body'

@pytest.mark.parametrize('name,years,files', [
    ('ersst', 1854, {f'ersst.v5.1854{m:02d}.nc': NC+bytes([m]) for m in range(1, 13)}),
    ('ersst_psl', None, {'sst.mnmean.nc': b'\x89HDF\r\n'}),
    ('en4', range(1950, 1953), {f'EN.4.2.2.analyses.g10.{y}.zip': ZIP for y in (1950, 1951, 1952)}),
    ('nclimdiv', None, {'procdate.txt': b'20240206\n', 'climdiv-pcpndv-v1.0.0-20240206': b'0101011895   7.03'}),
    ('prism', [2000], {f'2000{m:02d}': ZIP+bytes([m]) for m in range(1, 13)})])
def test_every_source(tmp_path, name, years, files):
    server = Server(files)
    with server.run() as base:
        got = download(name, tmp_path, years, base=base, pause=0); asked = len(server.asked)
        assert (asked == len(files) and [p.parent for p in got] == [tmp_path]*len(got)
                and sorted(tmp_path.iterdir()) == sorted([*got, *(p.with_name(p.name+'.sha256') for p in got)]))
        assert sorted(p.read_bytes() for p in got) == sorted(v for k,v in files.items() if k != 'procdate.txt')
        assert download(name, tmp_path, years, base=base, pause=0) == got and len(server.asked) == asked+(name
                == 'nclimdiv'), 'nothing is fetched twice'
    if name == 'prism': assert got[0].name == 'prism_ppt_us_25m_200001.zip'

def test_what_was_fetched_can_be_opened(tmp_path):
    paths = write_en4(sea(3, '1950-11'), tmp_path/'a')
    with Server({p.name: p.read_bytes() for p in paths}).run() as base:
        download('en4', tmp_path/'b', [1950, 1951], base=base)
    assert open_fields(tmp_path/'b')[0].shape[0] == 3

@pytest.mark.parametrize('answer,text', [(404, 'could not be fetched .*404'), (503, 'could not be fetched .*503'),
                                         ((ZIP*1000,), 'could not be fetched'),
    (b'<html><body>please log in', 'gave something else'), (b'', 'gave something else'),
    (b'You have downloaded this file twice today', 'gave something else.*You have downloaded')])
def test_bad_answers(tmp_path, answer, text):
    with Server({'EN.4.2.2.analyses.g10.1950.zip': ZIP, 'EN.4.2.2.analyses.g10.1951.zip': answer}).run() as base:
        with pytest.raises(DataError, match=rf'(?s){base}/EN.4.2.2.analyses.g10.1951.zip {text}.*by hand.*save it as EN.4.2.2.analyses.g10.1951.zip'):
            download('en4', tmp_path, [1950, 1951], base=base)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f'EN.4.2.2.analyses.g10.1950.zip{end}'
            for end in ('', '.sha256')], 'what was whole stays, and nothing half is left'

def test_a_page_instead_of_a_text(tmp_path):
    with Server({'procdate.txt': b'20240206', 'climdiv-pcpndv-v1.0.0-20240206': b'\n<html>moved'}).run() as base:
        with pytest.raises(DataError, match='gave something else'): download('nclimdiv', tmp_path, base=base)
    assert not list(tmp_path.iterdir())

def test_no_network(tmp_path):
    with Server({}).run() as base: pass
    with pytest.raises(DataError, match=f'{base}/sst.mnmean.nc could not be fetched'):
        download('ersst_psl', tmp_path, base=base)

def test_a_strange_procdate(tmp_path):
    with Server({'procdate.txt': b'soon'}).run() as base:
        with pytest.raises(DataError, match='procdate.txt should hold a date'):
            download('nclimdiv', tmp_path, base=base)

@pytest.mark.parametrize('name,kw,text',
                         [('en5', {}, 'the sources are ersst, '), ('en4', {}, 'a file a year: say which years'),
                          ('ersst', dict(years=1800), 'begins in 1854'),
    ('prism_bil', dict(years=1950), 'cannot be fetched without a person.*in a browser')])
def test_what_cannot_be_asked(tmp_path, name, kw, text):
    with pytest.raises(ConfigError, match=text): download(name, tmp_path, **kw)

def test_the_data_folder_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv('MRTL_DATA', str(tmp_path))
    with Server({'sst.mnmean.nc': NC}).run() as base:
        assert download('ersst_psl', base=base) == [tmp_path/'ersst_psl'/'sst.mnmean.nc']

def test_pauses_between_files_only(tmp_path, monkeypatch):
    waits = []; monkeypatch.setattr(archives.time, 'sleep', waits.append)
    with Server({f'2000{m:02d}': ZIP for m in range(1, 13)}).run() as base:
        download('prism', tmp_path, 2000, months=[1, 2, 3], base=base)
    assert waits == [SOURCES['prism']['pause']]*2 and waits[0] >= 1

def test_the_libraries_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pooch', None)
    with pytest.raises(ConfigError, match=r"pip install 'mrtl\[download\]'"):
        download('ersst_psl', tmp_path, base='http://127.0.0.1:1')
    (tmp_path/'a.zarr').mkdir(); monkeypatch.setitem(sys.modules, 'zarr', None)
    with pytest.raises(ConfigError, match=r"pip install 'mrtl\[big\]'"): open_fields(tmp_path/'a.zarr')

def test_sources_say_where_and_under_what_terms():
    for name,s in SOURCES.items():
        assert s['terms'] and s['by_hand'] and s['each'] in ('', 'year', 'month'), name
        assert s['base'] is None or s['base'].startswith('https://') and s['base'].endswith('/')
