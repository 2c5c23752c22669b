"""Grids of cases for `mrtl.climate.fields`: names, orders, calendars, formats, damaged files, and regridding
against brute force."""
import json, zipfile
import cftime, numpy as np, pandas as pd, pytest, xarray as xr
import mrtl.climate.fields as fields
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.climate.fields import box_mean, common_grid, open_fields, overlap_area, regrid, select_box
from mrtl.axes import cell_edges
from mrtl.climate.fields import check_months, decode_months, month_starts
from mrtl.readers import open_netcdf
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

@pytest.mark.parametrize('names', [('time', 'lat', 'lon'), ('time', 'latitude', 'longitude'), ('T', 'Y', 'X'),
                                   ('Time', 'LAT', 'LON')])
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
    da = sst.assign_coords(time=('time', cftime.date2num(stamps, units, calendar),
                                 dict(units=units, calendar=calendar)))
    da.to_netcdf(tmp_path/'a.nc')
    same(opened(tmp_path/'a.nc'), sst)

@pytest.mark.parametrize('shift', [0., .5])
@pytest.mark.parametrize('calendar', ['360', '360_day', 'standard', None])
def test_months_since(tmp_path, shift, calendar):
    sst = make(30, start='1955-05')
    attrs = dict(units='months since 1960-01-01')|(dict(calendar=calendar) if calendar else {})
    sst.assign_coords(time=('time', np.arange(30)-56+shift, attrs)).to_netcdf(tmp_path/'a.nc')
    same(opened(tmp_path/'a.nc'), sst)

@pytest.mark.parametrize('times', [np.array(['2001-03-31T23:59:59', '2001-04-01'], 'M8[s]'),
                                   np.array(['2001-03', '2001-04'], 'M8[M]'),
    [cftime.DatetimeNoLeap(2001, 3, 16), cftime.DatetimeNoLeap(2001, 4, 16)],
    xr.DataArray(np.array(['2001-03-02', '2001-04-30'], 'M8[ns]'), dims='time')])
def test_month_starts(times):
    assert (month_starts(np.array(times, object) if isinstance(times, list) else times)
            == np.array(['2001-03', '2001-04'], 'M8[M]').astype('M8[ns]')).all()

@pytest.mark.parametrize('lon,want',
                         [((-175., -170., -165.), (185., 190., 195.)),
                          ((170., 175., -180., -175.), (170., 175., 180., 185.)),
                          ((350., 355., 0., 5.), (-10., -5., 0., 5.)),
    ((-10., -5., 0., 5.), (-10., -5., 0., 5.)), (tuple(np.arange(-180., 180, 30)), tuple(np.arange(0., 360, 30))),
    ((220., 215., 210.), (210., 215., 220.)), ((0., 90., 180., 270., 360.), (0., 90., 180., 270.)), ((200.,), (200.,))])
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
    ds = xr.Dataset(dict(sst=sst, slp=slp, mask=sst[0]>0,
                         lat_bnds=(('lat', 'nv'), np.zeros((4, 2))))).expand_dims(depth=[5.])
    ds.to_netcdf(tmp_path/'a.nc', encoding=dict(sst=dict(dtype='int16', scale_factor=.001, _FillValue=-32768),
                                                slp=dict(_FillValue=-999.)))
    found = open_fields(tmp_path/'a.nc')
    assert [f.name for f in found] == ['sst', 'slp']
    assert np.array_equal(found[0].isnull(), sst.isnull())
    np.testing.assert_allclose(found[0], sst, atol=6e-4)
    same(found[1], slp)
    assert [f.name for f in open_fields(tmp_path/'a.nc', ['slp', 'sst'])] == ['slp', 'sst']

def test_unsorted_times_are_sorted_and_files_joined(tmp_path):
    sst = make(36); perm = np.random.default_rng(0).permutation(36)
    sst[perm].to_netcdf(tmp_path/'a.nc'); same(opened(tmp_path/'a.nc'), sst)
    for i in range(3): sst[12*i:12*i+12].to_netcdf(tmp_path/f'{i}.nc')
    same(opened([tmp_path/f'{i}.nc' for i in (2, 0, 1)]), sst)
    with pytest.raises(DataError, match='12 months more than once, the first is 1951-01'):
        open_fields([tmp_path/'a.nc', tmp_path/'1.nc'])
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
    with pytest.raises(DataError, match='no variable so in the files: they hold sst'):
        open_fields(tmp_path/'a.nc', ['so'])
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
    daily = sst[:2].assign_coords(time=np.array(['2000-01-01', '2000-01-02'], 'M8[ns]'))
    daily.to_netcdf(tmp_path/'g.nc')
    with pytest.raises(DataError, match='give monthly means'): open_fields(tmp_path/'g.nc')

# ---- lazily

@pytest.mark.parametrize('dtype,encoding,kept',
                         [('f4', {}, 'f4'), ('f8', {}, 'f8'), ('f8', dict(dtype='>f4'), 'f4'),
                          ('f8', dict(dtype='int16', scale_factor=.001, add_offset=5., _FillValue=-32768), 'f4'),
    ('f8', dict(dtype='int32', scale_factor=1e-6, _FillValue=-2**31), 'f8'), ('i2', {}, 'f4'), ('i4', {}, 'f8')])
def test_types_are_kept(tmp_path, dtype, encoding, kept):
    sst = (make()*3).round(2).astype(dtype)
    sst.to_netcdf(tmp_path/'a.nc', format='NETCDF3_CLASSIC' if '>' in encoding.get('dtype', '') else 'NETCDF4',
                  encoding=dict(sst=encoding))
    got = opened(tmp_path/'a.nc')
    assert got.chunks is not None and got.dtype == kept and got.values.dtype == kept and got.values.dtype.isnative
    np.testing.assert_allclose(got, sst, atol=6e-4)

@pytest.fixture
def spans(monkeypatch):
    "Which months of which file were read."
    seen,real = [],fields._read
    def spy(source, first, span, months):
        seen.append((source[0].name, first.names, len(months)))
        return real(source, first, span, months)
    monkeypatch.setattr(fields, '_read', spy)
    return seen

def test_blocks_are_read_when_wanted(tmp_path, spans):
    lat,lon = tuple(np.arange(-44.5, 45)),tuple(np.arange(.5, 180))
    a = make(200, lat, lon)
    xr.Dataset(dict(sst=a, other=a*2)).to_netcdf(tmp_path/'a.nc')
    sst,other = open_fields(tmp_path/'a.nc')
    assert spans == [] and len(sst.chunks[0]) == 4 and max(sst.chunks[0])*90*180*8 <= 2**23
    np.testing.assert_array_equal(sst.isel(time=slice(70, 90)).values, a.values[70:90])
    assert spans == [('a.nc', ['sst'], 64)]
    spans.clear()
    np.testing.assert_array_equal(regrid(other, np.arange(-40., 41, 10),
                                         np.arange(10., 171, 10)).isel(time=-1).values,
                                  regrid(2*a[-1:], np.arange(-40., 41, 10), np.arange(10., 171, 10)).values[0])
    assert spans == [('a.nc', ['other'], 8)]

@pytest.mark.parametrize('consolidated', [True, False])
@pytest.mark.parametrize('version', [2, 3])
@pytest.mark.parametrize('name', ['a.zarr', 'store'])
@pytest.mark.filterwarnings('ignore:Consolidated metadata')
def test_zarr(tmp_path, consolidated, version, name):
    sst = make(50); sst[:, 0, 0] = np.nan; sst.attrs['units'] = 'degC'
    sst.isel(lat=slice(None, None, -1)).assign_coords(lon=sst.lon
            -360).chunk(time=12).to_dataset().to_zarr(tmp_path/name, consolidated=consolidated, zarr_format=version)
    got = opened(tmp_path/name); same(got, sst); assert got.attrs['units'] == 'degC' and got.chunks is not None
    assert len(open_fields([tmp_path/name], ['sst'])) == 1 and (name != 'a.zarr' or opened(tmp_path).shape == sst.shape)

def test_zarr_with_a_damaged_fill_value(tmp_path):
    "A fill value of too few bytes, which xarray meets while it opens the store, is named."
    make(24).to_dataset().to_zarr(tmp_path/'a.zarr', consolidated=False, zarr_format=3)
    f = tmp_path/'a.zarr'/'sst'/'zarr.json'
    meta = json.loads(f.read_text())
    meta['attributes']['_FillValue'] = 'AAAA'
    f.write_text(json.dumps(meta))
    with pytest.raises(FormatError, match='cannot be read as zarr'): open_fields(tmp_path/'a.zarr')

def test_zarr_blocks_are_whole_chunks(tmp_path):
    "Of 180 x 360 cells 16 months are read at a time, in whole chunks of up to eight times as many."
    x = make(40, tuple(np.arange(-89.5, 90)), tuple(np.arange(.5, 360)))
    for n,blocks in ((6, (12, 12, 12, 4)), (40, (40,))):
        x.chunk(time=n).to_zarr(tmp_path/f'{n}.zarr', consolidated=False)
        assert opened(tmp_path/f'{n}.zarr').chunks[0] == blocks
    same(opened(tmp_path/'6.zarr')[10:14], x[10:14])

def test_damaged_zarr(tmp_path):
    make(24).chunk(time=12).to_zarr(tmp_path/'a.zarr', consolidated=False)
    chunk = max((p for p in (tmp_path/'a.zarr'/'sst').rglob('*') if p.is_file() and 'json' not in p.name),
                key=lambda p: p.stat().st_size)
    chunk.write_bytes(b'nonsense'); got = opened(tmp_path/'a.zarr')
    with pytest.raises(FormatError, match='a.zarr.*cannot be read as zarr'): got.values
    (tmp_path/'b.zarr').mkdir()
    with pytest.raises(FormatError, match='b.zarr'): open_fields(tmp_path/'b.zarr')

def test_damage_in_the_middle_is_found_when_read(tmp_path):
    make(400).to_netcdf(tmp_path/'a.nc', encoding=dict(sst=dict(zlib=True, shuffle=True, chunksizes=(50, 4, 5))))
    data = bytearray((tmp_path/'a.nc').read_bytes())
    data[len(data)//2:len(data)//2+400] = bytes(400); (tmp_path/'a.nc').write_bytes(data)
    got = opened(tmp_path/'a.nc')
    with pytest.raises(FormatError, match='a.nc.*damaged'): got.values

def test_a_file_that_changed_is_noticed(tmp_path):
    make(24).to_netcdf(tmp_path/'a.nc'); got = opened(tmp_path/'a.nc')
    make(24, start='1970-01').to_netcdf(tmp_path/'a.nc')
    with pytest.raises(DataError, match='1950-01.* but its time axis says 1970-01'): got.values
    (tmp_path/'a.nc').unlink()
    with pytest.raises(DataError, match='no file'): got.values

def test_zip_of_any_netcdf(tmp_path):
    make(24).to_netcdf(tmp_path/'a.nc', format='NETCDF3_CLASSIC')
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z: z.write(tmp_path/'a.nc', 'in/a.nc')
    same(opened(tmp_path/'a.zip'), make(24))

# ---- files that disagree

def stamped(da, calendar, units='days since 1800-01-01'):
    stamps = [cftime.datetime(t.dt.year.item(), t.dt.month.item(), 15, calendar=calendar) for t in da.time]
    return da.assign_coords(time=('time', cftime.date2num(stamps, units, calendar),
                                  dict(units=units, calendar=calendar)))

def test_calendars_join_by_year_and_month(tmp_path):
    sst = make(48); calendars = ('standard', 'noleap', '360_day', 'julian')
    for i,c in enumerate(calendars):
        stamped(sst[12*i:12*i+12], c, f'days since {1800+i}-01-01').to_netcdf(tmp_path/f'{i}.nc')
    same(opened(tmp_path), sst)

@pytest.mark.parametrize('a,b,fine', [('degC', 'celsius', True), ('K', 'kelvin', True), ('hPa', 'hPa', True),
                                      (None, None, True), ('degC', 'K', False),
                                      ('degC', None, False), ('mm', 'm', False)])
def test_units_of_one_variable(tmp_path, a, b, fine):
    for name,da,u in (('a', make(12), a), ('b', make(12, start='1951-01'), b)):
        (da if u is None else da.assign_attrs(units=u)).to_netcdf(tmp_path/f'{name}.nc')
    if fine: assert opened(tmp_path).shape[0] == 24 and opened(tmp_path).attrs.get('units') == a
    else:
        with pytest.raises(DataError, match=r'sst has the unit \S+ in .*a.nc. and \S+ in .*b.nc.*convert one'):
            open_fields(tmp_path)

def test_missing_units_are_taken_as_they_are(tmp_path):
    make(12).to_netcdf(tmp_path/'a.nc'); assert common_grid(open_fields(tmp_path/'a.nc')).attrs['units'] == 'sst: ?'

def test_half_overlapping_years_name_both_files(tmp_path):
    make(12).to_netcdf(tmp_path/'a.nc'); make(12, start='1950-07').to_netcdf(tmp_path/'b.nc')
    with pytest.raises(DataError, match=r'sst has 6 months more than once, the first is 1950-07 \(in .*a.nc. and in .*b.nc.\)'):
        open_fields(tmp_path)

def test_wrapped_and_unwrapped_longitudes_join(tmp_path):
    lon = tuple(np.arange(0., 360, 30)); sst = make(36, lon=lon)
    turned = [sst[:12], sst[12:24].assign_coords(lon=(sst.lon+180)%360-180).sortby('lon'),
              sst[24:].assign_coords(lon=(sst.lon-20)%360+20).sortby('lon')]
    for i,da in enumerate(turned): da.to_netcdf(tmp_path/f'{i}.nc')
    assert turned[2].lon.values[-1] == 360 and turned[1].lon.values[0] == -180
    np.testing.assert_allclose(opened([tmp_path/'0.nc', tmp_path/'1.nc']), sst[:24])
    got = opened(tmp_path/'2.nc')
    np.testing.assert_allclose(got.sel(lon=360), sst[24:].sel(lon=0))
    assert got.lon.values.tolist() == list(np.arange(30., 361, 30))

# ---- fill values

@pytest.mark.parametrize('fill', [-999., -9999., -99999., -32768., -32767., 1e20, -1e20, 9.96921e36, 1e30, -1e34])
@pytest.mark.parametrize('dtype', ['f4', 'f8'])
@pytest.mark.parametrize('declared', [False, True])
def test_fill_values(tmp_path, fill, dtype, declared):
    sst = make().astype(dtype)
    sst[2, 1, 1] = sst[7, 0, 0] = fill
    sst.to_netcdf(tmp_path/'a.nc', encoding=dict(sst=dict(_FillValue=None)))
    if declared:
        ds = xr.open_dataset(tmp_path/'a.nc', mask_and_scale=False, decode_times=False).load()
        ds.sst.attrs['missing_value'] = np.dtype(dtype).type(fill)
        ds.to_netcdf(tmp_path/'b.nc', encoding=dict(sst=dict(_FillValue=None)))
        assert opened(tmp_path/'b.nc').isnull().sum() == 2
    else:
        got = opened(tmp_path/'a.nc')
        with pytest.raises(DataError, match=r"sst in .*a.nc' holds 2 times \S+, which looks like a fill value"):
            got.values

@pytest.mark.parametrize('raw,declared,count', [(-32768, None, 2), (-32767, None, 2), (-32768, -32767, 2),
                                                (-32767, -32768, 2), (-999, None, 0), (-9999, -32768, 2)])
def test_fill_values_of_packed_fields(tmp_path, raw, declared, count):
    x = np.random.default_rng(0).integers(-1000, 1000, (30, 4, 5)).astype('i2'); x[3, 1, 1] = x[8, 2, 2] = raw
    attrs = dict(scale_factor=.01, add_offset=20.)|({} if declared is None else dict(_FillValue=np.int16(declared)))
    make().copy(data=x).assign_attrs(attrs).to_netcdf(tmp_path/'a.nc',
            encoding=dict(sst=dict(_FillValue=None)) if declared is None else {})
    got = opened(tmp_path/'a.nc')
    if count:
        with pytest.raises(DataError, match=f'holds {count} times {raw}'): got.values
    else:
        np.testing.assert_allclose(got, np.where(x == declared, np.nan, x*.01+20) if declared is not None
                                   else x*.01+20, rtol=1e-6)

def test_infinities_pass_for_the_caller_to_judge(tmp_path):
    sst = make(); sst[0, 0, 0] = np.inf; sst.to_netcdf(tmp_path/'a.nc')
    assert np.isinf(opened(tmp_path/'a.nc')).sum() == 1

# ---- boxes

GRIDS = dict(whole=(np.arange(-83., 90), np.arange(1., 361)), half=(np.arange(-89.5, 90), np.arange(-179.5, 180)),
             two=(np.arange(-88., 89, 2), np.arange(0., 360, 2)),
             shifted=(np.arange(-30., 31, 5), np.arange(20., 380, 5)),
             down=(np.arange(60., -61, -3), np.arange(-180., 180, 3)))

@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('lat,lon', [((-20, 60), (-180, 0)), ((-20, 60), (180, 360)), ((-25, 25), (-30, 30)),
                                     ((-25, 25), (330, 30)), ((0, 10), (170, -150)), ((0, 10), (170, 210)),
                                     ((-5.5, 5.5), (0, 360)), ((-5, 5), (-180, 180)), ((-30, 20), (359, 20)),
                                     ((-20, 20), (355, 365))])
@pytest.mark.parametrize('lazy', [False, True])
def test_select_box(grid, lat, lon, lazy):
    y,x = GRIDS[grid]
    if grid == 'shifted' and lat[1] > 40: lat = (lat[0], 30)
    da = xr.DataArray(np.random.default_rng(0).normal(size=(2, len(y), len(x))), dict(lat=y, lon=x),
                      ('time', 'lat', 'lon'))
    got = select_box(da.chunk(time=1) if lazy else da, lat, lon)
    assert (got.chunks is not None) == lazy and (np.diff(got.lat) > 0).all() and (np.diff(got.lon)
            > 0).all() and got.lon.min() > -360 and got.lon.max() <= 360
    width = lon[1]-lon[0] if lon[1] > lon[0] else lon[1]-lon[0]+360
    want = {(a, b%360) for a in y for b in x if lat[0] < a <= lat[1] and any(lon[0]+360*k < b <= lon[0]+width+360*k
            for k in (-2, -1, 0, 1, 2))}
    assert {(a, b%360) for a in got.lat.values
            for b in got.lon.values} == want and got.shape[1]*got.shape[2] == len(want)
    for a in got.lat.values[[0, -1]]:
        for b in got.lon.values[[0, -1]]:
            np.testing.assert_array_equal(got.sel(lat=a, lon=b),
                                          da.sel(lat=a).isel(lon=int(np.argmin(abs((x-b+180)%360-180)))))

def test_the_papers_box():
    y,x = GRIDS['whole']
    da = xr.DataArray(np.zeros((173, 360)), dict(lat=y, lon=x), ('lat', 'lon'))
    got = select_box(da, (-20, 60), (-180, 0))
    assert got.lat.values.tolist() == list(range(-19, 61)) and got.lon.values.tolist() == list(range(181, 361))
    file = da.isel(lon=slice(180, 360)).assign_coords(lon=np.arange(-179., 1))
    assert select_box(file, (-20, 60), (-180, 0)).lon.values.tolist() == list(range(181, 361))

@pytest.mark.parametrize('lat,lon,error,text', [((60, -20), (0, 90), ConfigError, 'south to north'),
                                                ((0, 10), (50, 50), ConfigError, 'west to east'),
                                                ((0, 10), (-185, 185), ConfigError, 'at most once round'),
    ((0, 13), (205, 215), DataError, 'no latitude between 5 and 13'),
    ((-10, 5), (180, 215), DataError, 'no longitude between 180 and 200'),
    ((-10, 5), (210, 240), DataError, 'no longitude between 220 and 240'),
    ((1, 4), (205, 215), DataError, 'no cell has its centre in the box'),
    ((40, 50), (205, 215), DataError, 'from -10 to 5 along latitude'),
    ((-10, 5), (20, 60), DataError, 'from 200 to 220 along longitude')])
def test_boxes_that_cannot_be_cut(lat, lon, error, text):
    with pytest.raises(error, match=text): select_box(make(2), lat, lon)

def test_a_box_may_reach_a_cell_beyond_the_grid():
    assert select_box(make(2), (-15.1, 9.9), (194.9, 224)).shape == (2, 4, 5)

def test_regrid_onto_a_grid():
    da = make(3); g = Grid((2, 3), y=(-10, 10), x=(200, 220), names=('lat', 'lon'), sphere=True)
    a,b = regrid(da, g),regrid(da, g.y_centres, g.x_centres); xr.testing.assert_identical(a, b)
    assert regrid(da.assign_attrs(units='K'), g).attrs == dict(units='K') and regrid(da, g).name == 'sst'
    xr.testing.assert_identical(regrid(da.chunk(time=1, lat=2, lon=3), g).compute(), a)

# ---- regridding

def brute(da, lat, lon):
    "Area-weighted NaN-aware means, cell by cell, with longitudes compared on the circle."
    def edges(c): return np.r_[c[0]-(c[1]-c[0])/2, (c[:-1]+c[1:])/2, c[-1]+(c[1]-c[0])/2]
    (ya,xa),(yb,xb) = (edges(np.asarray(lat, float)),
                       edges(np.asarray(lon, float))),(edges(da.lat.values), edges(da.lon.values))
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

@pytest.mark.parametrize('lat,lon', [(np.arange(-7.5, 5, 5), np.arange(202.5, 220, 5)),
                                     (np.arange(-8., 4, 3.3), np.arange(201., 219, 2.1)),
                                     (np.array([-5., 5.]), np.array([203., 217.])),
                                     (np.arange(-20., 21, 10), np.arange(190., 231, 10))])
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
    # rows nest: where they do not, that library weighs parts of a cell by the whole cell's latitude
    lat,lon = np.arange(-27.5, 28, 5),np.arange(187., 280, 7)
    target = xr.Dataset(coords=dict(lat=lat, lon=lon))
    theirs = da.regrid.conservative(target, latitude_coord='lat').transpose('time', 'lat', 'lon')
    np.testing.assert_allclose(regrid(da, lat, lon).values, theirs.values, atol=1e-6)

def test_regrid_keeps_constants_and_poles():
    da = make(2, lat=tuple(np.arange(-90., 91, 2.5)), lon=tuple(np.arange(0., 360, 2.5)))*0+7
    got = regrid(da, np.arange(-87.5, 88, 5), np.arange(2.5, 360, 5))
    np.testing.assert_allclose(got, 7.)
    np.testing.assert_allclose(regrid(da, da.lat.values, np.arange(5., 360, 5)), 7.,
                               err_msg='rows centred on the poles have an area, up to the pole')

def test_land_stays_land():
    da = make(4).where(lambda d: (d.lon < 210)|(d.lat > 0))
    got = regrid(da, np.array([-7.5, -2.5, 2.5]), np.array([202.5, 207.5, 212.5, 217.5]))
    assert np.isnan(got.values[:, 0, 2:]).all() and np.isfinite(got.values[:, :, 0]).all()
    np.testing.assert_allclose(got.values[:, 0, 1], brute(da, got.lat, got.lon)[:, 0, 1])

# ---- one grid

KAPLAN,HADSLP = (tuple(np.arange(-27.5, 28, 5)), tuple(np.arange(182.5, 288, 5))),(tuple(np.arange(-25., 26, 5)),
        tuple(np.arange(185., 286, 5)))

def test_half_a_cell_apart():
    a,b = make(40, *KAPLAN),make(30, *HADSLP, name='slp', start='1951-01')
    out = common_grid([a, b])
    assert out.shape == (28, 2, 11, 21) and list(out['variable'].values) == ['sst',
            'slp'] and str(out.time.values[0])[:7] == '1951-01'
    np.testing.assert_allclose(out.sel(variable='slp'), b[:28]); v = a.values[12:40]
    four = (v[:, :-1, :-1]+v[:, 1:, :-1]+v[:, :-1, 1:]+v[:, 1:, 1:])/4
    np.testing.assert_allclose(out.sel(variable='sst')[:, 5], four[:, 5], rtol=1e-10)
    np.testing.assert_allclose(out.sel(variable='sst'), four, atol=.08)
    xr.testing.assert_allclose(common_grid([b, a]).sel(variable='sst'), out.sel(variable='sst'))

def test_choices_of_grid():
    coarse,fine = make(5, (-10., 0., 10.), (200., 210., 220., 230.)),make(5, tuple(np.arange(-14., 15, 2)),
            tuple(np.arange(196., 225, 2)), 'slp')
    assert common_grid([coarse, fine]).shape == (5, 2, 3, 3), 'cells that the finer field does not cover are left out'
    assert common_grid([coarse, fine], 'slp').shape == (5, 2, 15, 15)
    g = Grid((2, 3), y=(-10, 10), x=(195, 225), names=('lat', 'lon'), sphere=True)
    out = common_grid([coarse, fine], g)
    assert out.shape == (5, 2, 2, 3)
    np.testing.assert_allclose(out.lat, g.y_centres)
    np.testing.assert_allclose(out.lon, g.x_centres)
    with pytest.raises(ConfigError, match='onto'): common_grid([coarse, fine], 'finest')

def test_nothing_in_common():
    a = make(12)
    with pytest.raises(DataError, match='sst runs from 1950-01 to 1950-12; slp runs from 1960-01 to 1960-12'):
        common_grid([a, make(12, name='slp', start='1960-01')])
    with pytest.raises(DataError, match='no place in common'): common_grid([a, make(12, lat=(40., 45.), name='slp')])
    with pytest.raises(DataError, match='one name'): common_grid([a, a])
    with pytest.raises(DataError, match='equally spaced'):
        common_grid([a, make(12, lat=(-10., -5., 0., 7.), name='slp')])

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
    for bad,kw,text in (([0, 0, 1], {}, '1 months more than once'),
                        ([0, 1, 3], dict(every=True), '2000-03 is missing')):
        with pytest.raises(DataError, match=text): check_months(m[bad], 'it', **kw)

def test_decoded_times_pass():
    t = xr.DataArray(np.array(['2001-03-02', '2001-04-30'], 'M8[ns]'), dims='time')
    assert (decode_months(t) == month_starts(t)).all()

def test_a_zarr_store_has_its_variables_in_one_order(tmp_path):
    ds = xr.Dataset({v: (('time', 'lat', 'lon'), np.ones((3, 2, 2))) for v in ('so', 'a', 'sst', 'b')},
                    dict(time=np.array(['2000-01', '2000-02', '2000-03'], 'M8[ns]'), lat=[0., 1.], lon=[10., 11.]))
    ds.to_zarr(tmp_path/'x.zarr')
    assert {tuple(f.name for f in open_fields(tmp_path/'x.zarr')) for _ in range(12)} == {('a', 'b', 'so', 'sst')}

@pytest.mark.parametrize('cut,word', [(dict(lat=slice(0, 0)), 'has no value: its sizes are time 3, lat 0, lon 4'),
                                      (dict(time=[0, 1, 1]), 'has the time 2000-02-01 more than once')])
def test_fields_that_are_empty_or_have_a_time_twice_are_named(cut, word):
    da = xr.DataArray(np.ones((3,3,4)), dict(time=pd.date_range('2000', periods=3, freq='MS'), lat=[0., 1, 2],
                                             lon=[0., 1, 2, 3]), ('time','lat','lon'), 'sst')
    with pytest.raises(DataError, match=word): common_grid([da.isel(cut), da.rename('slp')])
