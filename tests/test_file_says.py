"""What a file says about itself counts: time bounds, missing values, valid ranges, axes, cells; tables of layouts
and of faults found in public reports."""
import re, warnings
import cftime, netCDF4, numpy as np, pandas as pd, pytest, xarray as xr
from mrtl import readers
from mrtl.axes import cell_edges, is_gaussian
from mrtl.cli import main
from mrtl.climate.fields import box_mean, common_grid, open_fields, regrid, select_box
from mrtl.climate.prepare import ClimatePrep, climate_problem
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.grids import Grid
from mrtl.readers import checked, far_values

LAT,LON,SINCE = np.arange(-20., 21, 10),np.arange(0., 360, 30),'days since 1900-01-01'
def edges(n=24, y0=2000, m0=1, calendar='standard'):
    "First days of n+1 months, in days."
    return np.array(cftime.date2num([cftime.datetime(y0+(m0-1+i)//12, (m0-1+i)%12+1, 1, calendar=calendar)
                                     for i in range(n+1)], SINCE, calendar), float)
def numbers(n=24, m0=1, lat=LAT, lon=LON):
    return np.broadcast_to(((np.arange(n)+m0-1)%12+1.)[:,None,None], (n,len(lat),len(lon)))+np.arange(len(lon))/1e3
NOTHING = object()

def write(path, x=None, lat=LAT, lon=LON, time=None, *, dims=('time','lat','lon'), names={}, var='sst', attrs={},
          dtype='f4', fill=None, bounds=None, bname='time_bnds', calendar='standard', tattrs={},
          lat_attrs=dict(units='degrees_north'), lon_attrs=dict(units='degrees_east'), units=SINCE,
          more=None, fmt='NETCDF4'):
    "One netCDF file with one variable; names: other names of dimensions; coordinates that are NOTHING are left out."
    e = edges()
    time = e[:-1]+15 if time is None else time
    x = numbers(len(time), lat=lat if lat is not NOTHING else LAT,
                lon=lon if lon is not NOTHING else LON) if x is None else x
    with netCDF4.Dataset(path, 'w', format=fmt) as d:
        for k,s in zip(dims, np.shape(x)): d.createDimension(names.get(k, k), s)
        for k,v,a in (('lat',lat,lat_attrs),('lon',lon,lon_attrs),('time',time,dict(units=units,
                calendar=calendar)|tattrs)):
            if v is not NOTHING:
                c = d.createVariable(names.get(k, k), 'f8', (names.get(k, k),))
                c.setncatts(a); c[:] = v
        if bounds is not None:
            d.createDimension('nv', 2)
            d.createVariable(bname, 'f8', (names.get('time', 'time'),'nv'))[:] = bounds
        v = d.createVariable(var, dtype, tuple(names.get(k, k) for k in dims), fill_value=fill)
        v.set_auto_maskandscale(False)
        v.setncatts(dict(units='degC')|attrs)
        v[:] = np.asarray(x).astype(dtype)
        if more: more(d)
    return path

def read(path, **kw):
    f, = open_fields(path, **kw); return f.compute()
def first(f): return str(f.time.values[0])[:7]
def right(f): return (f.time.dt.month.values == np.floor(f.values[:,0,0]+.01)).all()

# ---- which month a mean belongs to

E,NOLEAP,D360 = edges(),edges(calendar='noleap'),edges(calendar='360_day')
MONTHS = dict(
    cesm_end_stamps=dict(time=NOLEAP[1:], bounds=np.c_[NOLEAP[:-1],NOLEAP[1:]], calendar='noleap',
                         tattrs=dict(bounds='time_bnds')),
    pop_time_bound=dict(time=NOLEAP[1:], bounds=np.c_[NOLEAP[:-1],NOLEAP[1:]], bname='time_bound',
                        calendar='noleap', tattrs=dict(bounds='time_bound')),
    bounds_not_named=dict(time=E[1:], bounds=np.c_[E[:-1],E[1:]]),
    hadgem_360_days=dict(time=D360[1:], bounds=np.c_[D360[:-1],D360[1:]], calendar='360_day',
                         tattrs=dict(bounds='time_bnds')),
    last_day_included=dict(time=E[1:]-1, bounds=np.c_[E[:-1],E[1:]-1], tattrs=dict(bounds='time_bnds')),
    climatology_bounds=dict(time=E[1:], bounds=np.c_[E[:-1],E[1:]], bname='climatology_bnds',
                            tattrs=dict(climatology='climatology_bnds')),
    middle_and_bounds=dict(bounds=np.c_[E[:-1],E[1:]], tattrs=dict(bounds='time_bnds')),
    start_and_bounds=dict(time=E[:-1], bounds=np.c_[E[:-1],E[1:]], tattrs=dict(bounds='time_bnds')),
    start_alone=dict(time=E[:-1]), end_by_its_name=dict(time=E[1:], tattrs=dict(long_name='end of averaging period')),
    guessed_round_the_middle=dict(bounds=np.r_['1,2,0', np.r_[E[0],(E[:-2]+E[1:-1])/2+15],
                                               np.r_[(E[:-2]+E[1:-1])/2+15,E[-1]]],
                                  tattrs=dict(bounds='time_bnds')),
    twelve_hours_off=dict(time=E[1:]-.5, bounds=np.c_[E[:-1],E[1:]], tattrs=dict(bounds='time_bnds')),
    last_second=dict(time=E[1:]-1/86400), said_end=dict(time=E[1:], read=dict(stamp='end')),
    wrong_bounds_overruled=dict(bounds=np.c_[E[:-1],E[:-1]], tattrs=dict(bounds='time_bnds'),
                                read=dict(stamp='within')))

@pytest.mark.parametrize('case', MONTHS)
def test_the_month_of_a_mean(tmp_path, case):
    kw = dict(MONTHS[case]); how = kw.pop('read', {})
    f = read(write(tmp_path/'a.nc', **kw), **how)
    assert first(f) == '2000-01' and right(f)

NO_MONTHS = dict(
    stamp_outside=(dict(time=E[:-1]+45, bounds=np.c_[E[:-1],E[1:]]), 'do not hold the stamp: the stamp '
                   '2000-02-15.*bounds 2000-01-01 00:00:00 to 2000-02-01'),
    a_season=(dict(bounds=np.c_[E[:-1]-31,E[1:]+31]), 'are longer than a month.*stamp=.within'),
    running_mean=(dict(bounds=np.c_[E[:-1]-5,E[1:]+5]), 'are longer than a month'),
    climatology_of_years=(dict(bounds=np.c_[E[:-1],E[1:]+365*29], bname='cb', tattrs=dict(climatology='cb')),
                          'are longer than a month'), empty=(dict(bounds=np.c_[E[:-1],E[:-1]]),
        'end before they begin, or at once'), turned=(dict(bounds=np.c_[E[1:],E[:-1]]), 'end before they begin'),
    one_day=(dict(bounds=np.c_[E[:-1]+15,E[:-1]+16]), 'are shorter than half a month'),
    across=(dict(time=E[:-1], bounds=np.c_[E[:-1]-15,E[:-1]+15]), 'do not fit into one month'),
    filled=(dict(bounds=np.full((24,2), np.nan)), 'values that are no times, like nan'),
    overlapping=(dict(bounds=np.c_[E[:-1]-1,E[1:]]), 'overlap'),
    three_columns=(dict(more=lambda d: (d.createDimension('n3', 3), d.createVariable('tb', 'f8', ('time','n3')),
                                        d['time'].setncattr('bounds', 'tb'))),
                   "must be two times for each of its 24 stamps"),
    lost=(dict(time=E[1:], tattrs=dict(bounds='time_bnds')), 'its bounds, time_bnds, are not in the file'),
    whole_years_from_february=(dict(time=E[1:]), 'run from 2000-02 to 2002-01, as whole years do that are stamped '
                               'at the end.*--stamp end'))

@pytest.mark.parametrize('case', NO_MONTHS)
def test_times_that_contradict_themselves(tmp_path, case):
    kw,text = NO_MONTHS[case]; kw = dict(kw)
    if 'bounds' in kw and 'tattrs' not in kw: kw['tattrs'] = dict(bounds='time_bnds')
    with pytest.raises(DataError, match=text): open_fields(write(tmp_path/'a.nc', **kw))

def test_stamp_is_within_or_end(tmp_path):
    with pytest.raises(ConfigError, match="'within' or 'end'; got 'middle'"):
        open_fields(write(tmp_path/'a.nc'), stamp='middle')

def test_rain_stamped_at_the_end_does_not_leak(tmp_path):
    """An ocean that is white noise, and rain that is the ocean of the same month: nothing can be learnt from the
    month before."""
    x = np.random.default_rng(0).normal(size=(240,5,12)); e = edges(240)
    o = write(tmp_path/'o.nc', x, time=e[:-1]+15)
    r = read(write(tmp_path/'r.nc', x, time=e[1:], bounds=np.c_[e[:-1],e[1:]],
                   tattrs=dict(bounds='time_bnds'), var='pr'))
    f = read(o); assert (f.time == r.time).all() and abs(np.corrcoef(f[:-1,0,0], r[1:,0,0])[0,1]) < .2

def test_a_hole_is_never_windowed_across(tmp_path):
    t = edges(240)[:-1]+15
    y = xr.DataArray(np.random.default_rng(0).normal(size=240),
                     dict(time=pd.date_range('2000', periods=240, freq='MS')), ('time',))
    x = np.random.default_rng(1).normal(size=(240,5,12))
    keep = np.r_[:100,110:240]
    with pytest.raises(DataError, match='2008-05 is missing'):
        climate_problem(write(tmp_path/'a.nc', x[keep], time=t[keep]), y, leads=3)
    with pytest.raises(DataError, match='2008-05 is missing'): climate_problem(read(tmp_path/'a.nc'), y, leads=3)

# ---- which numbers are values

X = np.random.default_rng(0).normal(15, 5, (24,5,12)); HOLE = (slice(None),0,slice(0,3))
def holed(v, x=X): x = x.copy(); x[HOLE] = v; return x
PACK = dict(dtype='i2', attrs=dict(scale_factor=.01, add_offset=10.))
def packed(raw=None, x=X): x = np.round((x-10)/.01); x[HOLE] = raw if raw is not None else x[HOLE]; return x
MISSING = dict(
    fill_and_missing_value=dict(x=np.where(np.arange(12)<2, holed(-999), holed(-1e30)), fill=np.float32(-1e30),
                                attrs=dict(missing_value=np.float32(-999))),
    double_for_single=dict(x=holed(-999.9), attrs=dict(missing_value=-999.9)),
    as_text=dict(x=holed(-99.99), attrs=dict(missing_value='-99.99')),
    several=dict(x=holed(-8888), attrs=dict(missing_value=np.array([-9999,-8888], 'f4'))),
    valid_min=dict(x=holed(-1000), attrs=dict(valid_min=np.float32(-5))),
    valid_max=dict(x=holed(1e15), attrs=dict(valid_max=np.float32(100))),
    valid_range=dict(x=holed(-1000), attrs=dict(valid_range=np.array([-5,60], 'f4'))),
    range_as_text=dict(x=holed(-1000), attrs=dict(valid_range='-5, 60')),
    packed_range_in_packed_numbers=dict(PACK, x=packed(32000),
                                        attrs=PACK['attrs']|dict(valid_range=np.array([-3000,5000], 'i2'))),
    packed_range_in_units=dict(PACK, x=packed(32000),
                               attrs=PACK['attrs']|dict(valid_range=np.array([-30.,60.], 'f4'))),
    missing_in_units_of_packed=dict(PACK, x=packed(32767),
                                    attrs=PACK['attrs']|dict(missing_value=np.float32(32767*.01+10))),
    ncep_missing_value_short=dict(PACK, x=packed(32766), attrs=PACK['attrs']|dict(missing_value=np.int16(32766))),
    told_by_the_caller=dict(x=holed(-1000), read=dict(missing=[-1000])),
    told_in_packed_numbers=dict(PACK, x=packed(32000), read=dict(missing=[32000])),
    byte=dict(x=np.where(holed(0)==0, 255, X.clip(0)*3), dtype='u1', fill=np.uint8(255)))

@pytest.mark.parametrize('case', MISSING)
def test_missing_values_of_every_kind(tmp_path, case):
    kw = dict(MISSING[case]); how = kw.pop('read', {}); f = read(write(tmp_path/'a.nc', time=E[:-1]+15, **kw), **how)
    assert f[HOLE].isnull().all() and int(f.isnull().sum()) == 72 and float(f.min()) > -10

FAR = dict(hadisst=(holed(-1000), -1000), short=(holed(32767), 32767), nines=(holed(-99.99), -99.99),
           nines2=(holed(-999.9), -999.9), high=(holed(1e15), 1e15),
           byte=(np.where(holed(0)==0, 255, X.clip(0)*3).round(), 255), zero_kelvin=(holed(0, X+273.15), 0),
           eights=(holed(-888.), -888), land_of_salinity=(holed(0, 34+X/50), 0),
           lowest_int=(holed(-2147483647.), -2147483647),
           few=(np.where(np.arange(1440).reshape(X.shape)%700==7, -1000., X), -1000),
    ice_and_land=(np.where(np.arange(12)<2, holed(-1000), holed(-2000)), -2000),
    both_ends=(np.where(np.arange(12)<2, holed(-1000), holed(1000)), -1000))

@pytest.mark.parametrize('case', FAR)
@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_a_number_that_recurs_far_off_is_refused(tmp_path, case, dtype):
    x,v = FAR[case]; f, = open_fields(write(tmp_path/'a.nc', x, time=E[:-1]+15, dtype=dtype))
    with pytest.raises(DataError, match=rf"sst in .*a.nc' holds .*\d+ times {re.escape(f'{v:g}')}.*fill value.*missing=\[.*--missing none"):
        f.compute()
    assert read(tmp_path/'a.nc', missing=[]).notnull().all(), 'an empty list: they are values'

RNG = np.random.default_rng(2)
REAL = dict(zero_rain=RNG.gamma(.3, 40, X.shape).round(1),
            dry=np.where(RNG.random(X.shape)<.97, 0, RNG.gamma(1, 20, X.shape)), fraction=X.clip(12, 18),
            zero_one=(X>15)*1., mostly_zero_fraction=np.where(RNG.random(X.shape)<.9, 0,
        RNG.uniform(.15, 1, X.shape).clip(max=.98)), ice_at_freezing=X.clip(-1.8)-10*(X<10),
            freezing=np.maximum(X-17, -1.8), humidity=(X*6).clip(max=100), integers=X.round(), one_number=X*0+3,
            heavy=RNG.standard_t(3, X.shape),
    snow=np.where(RNG.random(X.shape)<.8, 0, RNG.gamma(2, .3, X.shape)).round(2), two_numbers=np.where(X>20, 5., 0),
    fluxes=RNG.normal(0, 1e-5, X.shape), one_outlier=np.where(np.arange(1440).reshape(X.shape)==700, 500., X),
    counts=RNG.poisson(3, X.shape)*1., heights=RNG.normal(0, 60, X.shape).round(),
    pressure=RNG.normal(101325, 900, X.shape), heat=RNG.normal(0, 1e9, X.shape))

@pytest.mark.parametrize('case', REAL)
def test_real_fields_with_many_equal_values_are_not_refused(tmp_path, case):
    np.testing.assert_array_equal(read(write(tmp_path/'a.nc', REAL[case], time=E[:-1]+15)), REAL[case].astype('f4'))

def test_packed_fields_of_any_range_are_not_refused(tmp_path):
    for scale,x in (.01, X),(1., REAL['counts']),(.1, REAL['zero_rain']):
        x = np.round(x/scale)
        np.testing.assert_allclose(read(write(tmp_path/'a.nc', x, time=E[:-1]+15, dtype='i2',
                                              attrs=dict(scale_factor=scale))), x*scale, rtol=1e-6)

@pytest.mark.parametrize('attrs,text',
                         [(dict(valid_range=np.array([-3,45], 'f4')),
                           r'lie between -3 and 45, but 1440 of 1440 do not, like 2\d\d'),
                          (dict(valid_min=np.float32(500)), 'between 500 and inf'),
                          (dict(valid_range=np.array([45,-3], 'f4')), 'between 45 and -3, which no value does')])
def test_a_valid_range_that_cannot_be_right(tmp_path, attrs, text):
    f, = open_fields(write(tmp_path/'a.nc', X+273.15, time=E[:-1]+15, attrs=attrs))
    with pytest.raises(DataError, match=text): f.compute()

def test_a_wrong_range_is_settled_by_the_caller(tmp_path):
    assert read(write(tmp_path/'a.nc', X+273.15, time=E[:-1]+15, attrs=dict(valid_max=np.float32(45))),
                missing=[]).notnull().all()

def test_checked_changes_no_array_of_the_callers():
    x = holed(-1000.); before = x.copy()
    checked(x, 'x', 'it', {}, {}, [-1000])
    assert (x == before).all() and checked(X, 'x', 'it', {}, {}) is X

@pytest.mark.parametrize('seed', range(3))
def test_no_false_alarms_in_random_fields(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        x = rng.normal(rng.normal()*100, 1, (rng.integers(1, 30),4,5))
        x = rng.choice([x, np.exp(x-x.mean()), np.abs(x), x.clip(x.mean()), np.floor(x), np.round(x, 1)][1:4]
                       if rng.random()<.5 else [x, np.floor(x), np.round(x, 1)])
        assert far_values(x, {}) == ({},None)

# ---- axes

AXES = dict(degrees_N=dict(names=dict(lat='y', lon='x'), lat_attrs=dict(units='degrees_N'),
                           lon_attrs=dict(units='degrees_E')),
            degreeN=dict(names=dict(lat='y', lon='x'), lat_attrs=dict(units='degreeN'),
                         lon_attrs=dict(units='degreeE')),
            degree_N=dict(names=dict(lat='j', lon='i'), lat_attrs=dict(units='degree_N'),
                          lon_attrs=dict(units='degree_E')),
            degreesN=dict(names=dict(lat='j', lon='i'), lat_attrs=dict(units='degreesN'),
                          lon_attrs=dict(units='degreesE')),
    axis=dict(names=dict(lat='y', lon='x', time='s'), lat_attrs=dict(axis='Y', units='degrees'),
              lon_attrs=dict(axis='X', units='degrees'), tattrs=dict(axis='T')),
    standard_name=dict(names=dict(lat='row', lon='col', time='when'), lat_attrs=dict(standard_name='latitude'),
                       lon_attrs=dict(standard_name='longitude'), tattrs=dict(standard_name='time')),
    t=dict(names=dict(time='t'), tattrs=dict(axis='T')), t_alone=dict(names=dict(time='t')),
    units_alone=dict(names=dict(time='instant')),
    valid_time=dict(names=dict(time='valid_time')), coordinate_axis_type=dict(names=dict(lat='a', lon='b'),
        lat_attrs={'_CoordinateAxisType': 'Lat'}, lon_attrs={'_CoordinateAxisType': 'Lon'}),
    capitals=dict(names=dict(lat='LATITUDE', lon='LONGITUDE', time='TIME'), lat_attrs={}, lon_attrs={}),
    other_order=dict(x=np.moveaxis(numbers(), 0, 2), dims=('lat','lon','time')),
    degrees=dict(lat_attrs=dict(units='degrees'), lon_attrs=dict(units='degrees')),
    no_units=dict(lat_attrs={}, lon_attrs={}),
    lat_along_y=dict(lat=NOTHING, lon=NOTHING, names=dict(lat='y', lon='x'),
                     more=lambda d: [d.createVariable(k, 'f8', (a,)).__setitem__(slice(None), v)
                                     for k,a,v in (('lat','y',LAT),('lon','x',LON))]))

@pytest.mark.parametrize('case', AXES)
@pytest.mark.parametrize('fmt', ['NETCDF4', 'NETCDF3_CLASSIC'])
def test_cf_names_of_axes(tmp_path, case, fmt):
    f = read(write(tmp_path/'a.nc', fmt=fmt, **AXES[case]))
    assert f.dims == ('time','lat','lon') and right(f)
    np.testing.assert_array_equal(f.lat, LAT)
    np.testing.assert_array_equal(f.lon, LON)

def plane(names, like='y x'):
    def more(d):
        for n in names: v = d.createVariable(n, 'f8', tuple(like.split())); v[:] = 1.
    return more
NOWHERE = dict(no_lat=(dict(lat=NOTHING), "does not say where its cells are: its dimension 'lat' has no "
                       "coordinate variable"), no_lon=(dict(lon=NOTHING), "its dimension 'lon'"),
               neither=(dict(lat=NOTHING, lon=NOTHING), "does not say where its cells are"),
               no_time=(dict(time=NOTHING, x=numbers()), "time axis that cannot be read.*no coordinate variable"),
    unknown_names=(dict(names=dict(lat='y', lon='x'), lat_attrs={}, lon_attrs={}),
                   "no dimension says that it is latitude or longitude"),
    curved=(dict(names=dict(lat='y', lon='x'), lat=NOTHING, lon=NOTHING, more=plane(['nav_lat','nav_lon'])),
            r"curved or rotated: its nav_lat \('y', 'x'\) and nav_lon.*cdo remapcon"),
    pop=(dict(names=dict(lat='nlat', lon='nlon'), lat=NOTHING, lon=NOTHING,
              more=lambda d: (plane(['TLAT','TLONG'], 'nlat nlon')(d),
                              d['TLAT'].setncattr('units', 'degrees_north'))), 'curved or rotated: its TLAT'),
    rotated=(dict(names=dict(lat='rlat', lon='rlon'),
                  lat_attrs=dict(units='degrees', axis='Y', standard_name='grid_latitude'),
                  lon_attrs=dict(units='degrees', axis='X', standard_name='grid_longitude'),
                  more=plane(['lat','lon'], 'rlat rlon')), 'curved or rotated: its lat'),
    projected=(dict(names=dict(lat='y', lon='x'),
                    lat_attrs=dict(units='m', axis='Y', standard_name='projection_y_coordinate'),
                    lon_attrs=dict(units='m', axis='X')), 'no dimension says that it is latitude'),
    radians=(dict(lat=np.deg2rad(LAT), lat_attrs=dict(units='radians')), "in 'radians'.*must be in degrees"),
    metres=(dict(lat=LAT*1e5, lat_attrs={}), 'at most 90'),
    swapped=(dict(lat_attrs=dict(units='degrees_east'), lon_attrs=dict(units='degrees_north')),
             "named as the latitude, but its attributes say units 'degrees_east'"),
    twice=(dict(lon=np.r_[0.,0.,LON[2:]]), 'must ascend'),
    gap=(dict(lat=np.r_[LAT[:4],np.nan]), 'numbers without gaps'),
    filled=(dict(lat=np.r_[LAT[:4],9.96921e36]), 'at most 90'))

@pytest.mark.parametrize('case', NOWHERE)
def test_cells_that_are_nowhere(tmp_path, case):
    kw,text = NOWHERE[case]
    with pytest.raises(DataError, match=text): open_fields(write(tmp_path/'a.nc', **kw))

# ---- expver

def versions(a=20, both=(), n=24, size=2):
    x = np.full((n,size,5,12), np.nan); x[:a,0] = numbers(n)[:a]; x[a:,1] = numbers(n)[a:]
    for i in both: x[i] = 5.
    return x
@pytest.mark.parametrize('x,dims',
                         [(versions(), ('time','expver','lat','lon')), (versions(1), ('time','expver','lat','lon')),
                          (versions(24), ('time','expver','lat','lon')),
                          (versions(0), ('time','expver','lat','lon')),
                          (versions().swapaxes(0, 1), ('expver','time','lat','lon')),
                          (np.moveaxis(versions(), 1, 3), ('time','lat','lon','expver')),
                          (versions(size=3), ('time','expver','lat','lon')),
                          (versions()[:,:,None], ('time','expver','number','lat','lon'))])
def test_expver_is_merged(tmp_path, x, dims):
    f = read(write(tmp_path/'a.nc', x, dims=dims, names=dict(time='valid_time')))
    assert right(f) and f.notnull().all()

@pytest.mark.parametrize('both', [(0,), (5, 6), range(24)])
def test_expver_that_overlaps_is_refused(tmp_path, both):
    f, = open_fields(write(tmp_path/'a.nc', versions(both=both), dims=('time','expver','lat','lon')))
    with pytest.raises(DataError, match=f'more than one expver in {len(both)*60} places'): f.compute()

# ---- cells

@pytest.mark.parametrize('lat,lon', [(np.arange(-90, 90.1, 2.5), np.arange(0, 360, 2.5)),
                                     (np.arange(90, -90.1, -5), np.arange(0, 360, 5)),
                                     (np.linspace(-90, 90, 73), np.arange(-180, 180, 5)),
                                     (np.linspace(-90, 90, 37), np.arange(0., 360, 30)),
                                     (np.arange(60, 90.1, 2.5), np.arange(0., 360, 30)),
                                     (np.arange(-90, -59, 10), np.arange(0., 360, 30)),
                                     (np.linspace(-90, 90, 3), np.arange(0., 360, 60)),
                                     (np.linspace(-90, 90, 145), np.arange(0., 360, 60)),
                                     (np.arange(-89.5, 90), np.arange(0., 360, 60))])
def test_rows_on_a_pole_have_their_own_area(lat, lon):
    a = np.sort(lat)
    g = Grid.from_coords(a, np.sort(lon), names=('lat','lon'), sphere=True)
    h = (a[1]-a[0])/2
    band = lambda y: np.sin(np.deg2rad(min(y+h, 90)))-np.sin(np.deg2rad(max(y-h, -90)))
    np.testing.assert_allclose(g.area.sum(1)/np.ptp(g.x), [band(y) for y in a], rtol=1e-9); assert (g.share > 0).all()
    for s in ((len(a)+1)//2, max(1, len(lon)//2)),(2, 3):
        np.testing.assert_allclose(g.coarsen(s).area.sum(), g.area.sum(), rtol=1e-12)
    w = ClimatePrep()
    x = xr.DataArray(np.random.default_rng(0).normal(size=(24,len(a),len(lon))),
                     dict(time=pd.date_range('2000', periods=24, freq='MS'), lat=a,
                          lon=np.sort(lon)), ('time','lat','lon'))
    w.fit(x)
    m = w.state_.climatology.sel(month=x.time.dt.month).values
    np.testing.assert_allclose(w.state_.scale,
                               np.sqrt(np.average(((x-m)**2).mean(('time','lon')), weights=[band(y) for y in a])),
                               rtol=1e-6)

def test_latitudes_beyond_a_pole_are_refused():
    with pytest.raises(DataError, match='between -90 and 90'):
        Grid.from_coords(np.arange(-100., 101, 10), [0., 1.], sphere=True)

def test_a_grid_with_poles_goes_through_the_command(tmp_path, no_pictures):
    lat,lon,n = np.linspace(90, -90, 19),np.arange(0., 360, 20),120
    t = edges(n, 1990)[:-1]; rng = np.random.default_rng(0)
    x = rng.normal(size=(n,19,18))
    write(tmp_path/'slp.nc', x, lat, lon, t, var='slp', attrs=dict(units='hPa'))
    y = xr.DataArray(rng.gamma(2, size=(2,n)), dict(division=['0201','0202'], state=('division', ['AZ','AZ']),
                                                    time=pd.date_range('1990', periods=n, freq='MS')),
                     ('division','time'), 'precip', dict(units='inch'))
    y.reset_coords('state').to_netcdf(tmp_path/'rain.nc')
    assert main(['climate', '--ocean', str(tmp_path/'slp.nc'), '--rain', str(tmp_path/'rain.nc'), '--region', 'AZ',
                 '--leads', '2', '--rank', '1', '--schedule', '5x5,19x18', '--out', str(tmp_path/'out')]) == 0
    f = xr.load_dataset(tmp_path/'out'/'factors.nc')
    assert np.isfinite(next(v for v in f.data_vars.values() if 'lat' in v.dims).isel(lat=[0, -1])).all()

GAUSS = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(94)[0]))
@pytest.mark.parametrize('n', [8, 32, 48, 64, 94, 160, 192, 256, 512])
def test_gaussian_rows_are_known(n):
    g = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(n)[0]))
    assert is_gaussian(g) and is_gaussian(g[n//4:n//4+5]) and not is_gaussian(np.delete(g,
            n//2)) and not is_gaussian(np.linspace(-88, 88, n))
    assert cell_edges(g)[0] == -90 and cell_edges(g)[-1] == 90

@pytest.mark.parametrize('how', ['midpoints', 'bounds', 'part'])
def test_gaussian_grids_are_moved_by_area(tmp_path, how):
    lat = GAUSS[::-1] if how != 'part' else GAUSS[30:64]
    e = np.r_[90, (lat[1:]+lat[:-1])/2, -90]
    lon = np.arange(0., 360, 30)
    x = np.sin(np.deg2rad(lat))[None,:,None]*np.ones((24,1,12))
    more = (lambda d: (d['lat'].setncattr('bounds', 'lat_bnds'),
                       d.createVariable('lat_bnds', 'f8', ('lat','nv')).__setitem__(slice(None),
            np.c_[e[:-1],e[1:]]))) if how == 'bounds' else None
    f = read(write(tmp_path/'a.nc', x, lat, lon, E[:-1]+15, bounds=np.c_[E[:-1],E[1:]], more=more))
    g = common_grid([f])
    assert np.ptp(np.diff(g.lat)) < 1e-3 and g.sizes['lat'] == len(lat)
    np.testing.assert_allclose(g[:,0], np.sin(np.deg2rad(g.lat)).values[None,:,None]*np.ones((24,1,12)), atol=2e-3)
    Grid.from_coords(g.lat, g.lon, sphere=True)
    part = common_grid([select_box(f, (-20, 20), (0, 360))])
    np.testing.assert_allclose(part[0,0,:,0], np.sin(np.deg2rad(part.lat)), atol=2e-3)
    np.testing.assert_allclose(box_mean(f, (0, 20), (0, 360)),
                               (1-np.cos(np.deg2rad(40)))/4/np.sin(np.deg2rad(20)), atol=2e-3)

def with_bounds(k, b):
    def more(d): d[k].setncattr('bounds', f'{k}_bnds'); d.createVariable(f'{k}_bnds', 'f8', (k,'nv'))[:] = b
    return more
UNEVEN = np.array([-30., -15, -5, 0, 5, 15, 30]); UE = np.array([-40., -20, -10, -2, 2, 10, 20, 40])
def test_unequal_cells_with_bounds_are_moved_by_area(tmp_path):
    x = np.random.default_rng(0).normal(size=(24,7,12))
    f = read(write(tmp_path/'a.nc', x, UNEVEN, time=E[:-1]+15, bounds=np.c_[E[:-1],E[1:]],
                   more=with_bounds('lat', np.c_[UE[:-1],UE[1:]])))
    g = common_grid([f])
    size = lambda e: np.diff(np.sin(np.deg2rad(e)))
    np.testing.assert_allclose((g[:,0]*size(np.linspace(-40, 40, 8))[:,None]).sum('lat'),
                               (x.astype('f4')*size(UE)[:,None]).sum(1), rtol=1e-5, atol=1e-6,
                               err_msg='the total is kept')
    assert f.lat_from.values.tolist() == UE[:-1].tolist() and set(g.coords) == {'time','variable','lat','lon'}

@pytest.mark.parametrize('lat,b,text',
                         [(UNEVEN, None, "lat in .*a.nc' must be equally spaced; its steps run from 5 to "
                           "15.*bounds of lat"), (np.r_[LAT[:2],LAT[3:],30.], None, 'its steps run from 10 to 20'),
                          (UNEVEN, np.c_[UE[:-1],UE[1:]]+20, 'lat_bnds in .*contradicts lat: the cell at -30 is '
                           'said to run from -20 to 0'), (UNEVEN, np.c_[UE[:-1],UE[1:]-1],
        'not adjacent along lat: one ends at -21, the next begins at -20'),
                          (LAT, np.zeros((5,2)), 'contradicts lat'), (LAT, np.full((5,2), np.nan), 'contradicts lat')])
def test_unequal_cells_without_sound_bounds_are_refused(tmp_path, lat, b, text):
    with pytest.raises(DataError, match=text):
        common_grid(open_fields(write(tmp_path/'a.nc', np.zeros((24,len(lat),12)), lat, time=E[:-1]+15,
                                      bounds=np.c_[E[:-1],E[1:]], more=with_bounds('lat', b)
                                      if b is not None else None)))

def test_bounds_that_agree_change_nothing(tmp_path):
    b = np.c_[LAT-5,LAT+5]
    f = read(write(tmp_path/'a.nc', bounds=np.c_[E[:-1],E[1:]], more=with_bounds('lat', b[:,::-1])))
    assert set(f.coords) == {'time','lat','lon'}
    p = np.linspace(-90, 90, 7)
    f = read(write(tmp_path/'b.nc', None, p, bounds=np.c_[E[:-1],E[1:]],
                   more=with_bounds('lat', np.c_[p-15,p+15].clip(-90, 90))))
    assert set(f.coords) == {'time','lat','lon'}

def test_an_unequal_grid_onto_another(tmp_path):
    f = xr.DataArray(np.ones((2,94,12)), dict(time=pd.date_range('2000', periods=2, freq='MS'), lat=GAUSS, lon=LON),
                     ('time','lat','lon'), 'a')
    np.testing.assert_allclose(regrid(f, np.arange(-88.75, 90, 2.5), np.arange(0., 360, 30)), 1.)

# ---- layouts of archives, as these write them

def var(d, name, dims, v, dtype='f8', fill=None, **attrs):
    o = d.createVariable(name, dtype, dims, fill_value=fill)
    o.set_auto_maskandscale(False); o.setncatts(attrs)
    o[:] = v
def since(units, e, calendar='standard'): return cftime.date2num(cftime.num2date(e, SINCE, calendar), units, calendar)
def cru(d, lat, lon):      var(d, 'stn', ('time','lat','lon'), 8, 'i4', description='number of stations contributing')
LAYOUTS = dict(
    cru_ts=dict(var='pre', units='days since 1900-1-1', time=since('days since 1900-1-1', E[:-1]+15),
                calendar='gregorian', x=np.where(LON<60, 9.96921e36, numbers()), fill=np.float32(9.96921e36),
                attrs=dict(units='mm/month', missing_value=np.float32(9.96921e36)), more=lambda d: cru(d, LAT, LON),
                read=dict(variables=['pre'])),
    gpcp=dict(var='precip', lat=np.linspace(-88.75, 88.75, 72)[::-1], lon=np.arange(1.25, 360, 30),
              units='days since 1800-01-01 00:00:0.0', time=since('days since 1800-01-01', E[:-1]),
              bounds=np.c_[since('days since 1800-01-01', E[:-1]),since('days since 1800-01-01', E[1:])],
              tattrs=dict(bounds='time_bnds', delta_t='0000-01-00 00:00:00'), fill=np.float32(-9.96921e36),
              attrs=dict(units='mm/day', valid_range=np.array([0,100], 'f4'), missing_value=np.float32(-9.96921e36),
                         cell_methods='time: mean')),
    gpcc=dict(var='precip', units='days since 1891-01-01 00:00:00', time=since('days since 1891-01-01', E[:-1]),
              lat=LAT[::-1], fill=np.float32(-99999.99), x=np.where(LON<60, -99999.99, numbers()),
              attrs=dict(units='mm/month'), more=lambda d: var(d, 'numgauge', ('time','lat','lon'), 3, 'f4'),
              read=dict(variables=['precip'])),
    hadisst=dict(names=dict(lat='latitude', lon='longitude'), lat=LAT[::-1], lon=np.arange(-180.+15, 180, 30),
                 units='days since 1870-1-1 0:0:0', time=since('days since 1870-1-1', E[:-1]+15.5),
                 bounds=np.c_[since('days since 1870-1-1', E[:-1]),since('days since 1870-1-1', E[1:])],
                 bname='time_bnds', tattrs=dict(bounds='time_bnds'), x=np.where(LON<60, -1000., numbers()),
                 fill=np.float32(-1e30), attrs=dict(units='C', missing_value=np.float32(-1e30),
        cell_methods='time: lat: lon: mean'), read=dict(missing=[-1000])),
    oisst_v2=dict(units='days since 1800-1-1 00:00:00', time=since('days since 1800-1-1', E[:-1]), lat=LAT[::-1],
                  dtype='i2', x=numbers()*100, bounds=np.c_[since('days since 1800-1-1',
        E[:-1]),since('days since 1800-1-1', E[1:])], tattrs=dict(bounds='time_bnds'), fill=None,
                  attrs=dict(units='degC', scale_factor=np.float32(.01), add_offset=np.float32(0),
                             missing_value=np.int16(32767), valid_range=np.array([-500,4000], 'i2'))),
    ersst_v5=dict(units='days since 1800-1-1 00:00:00', time=since('days since 1800-1-1', E[:-1]), lat=LAT[::-1],
                  fill=np.float32(-9.96921e36), attrs=dict(units='degC', valid_range=np.array([-1.8,45], 'f4'),
        actual_range=np.array([-1.8,36], 'f4'), missing_value=np.float32(-9.96921e36)),
                  bounds=np.c_[E[:-1],E[:-1]]*np.nan, bname='unrelated'),
    era5_old_cds=dict(names=dict(lat='latitude', lon='longitude'), lat=LAT[::-1],
                      units='hours since 1900-01-01 00:00:00.0', time=E[:-1]*24, dtype='i2', x=numbers()*100,
                      fill=np.int16(-32767), attrs=dict(units='K', scale_factor=.01, add_offset=0.,
        missing_value=np.int16(-32767)), calendar='gregorian'),
    era5_old_expver=dict(names=dict(lat='latitude', lon='longitude'), dims=('time','expver','lat','lon'),
                         x=versions(), units='hours since 1900-01-01 00:00:00.0', time=E[:-1]*24,
                         fill=np.float32(1e20)),
    era5_new_cds=dict(names=dict(lat='latitude', lon='longitude', time='valid_time'), lat=LAT[::-1],
                      units='seconds since 1970-01-01', time=since('seconds since 1970-01-01', E[:-1]),
                      calendar='proleptic_gregorian', fill=np.float32(np.nan), tattrs=dict(standard_name='time'),
                      more=lambda d: (var(d, 'number', (), 0, 'i8', standard_name='realization'),
                                      var(d, 'expver', ('valid_time',), np.array(['0001']*24, object), str))),
    cesm=dict(time=NOLEAP[1:], bounds=np.c_[NOLEAP[:-1],NOLEAP[1:]], calendar='noleap',
              tattrs=dict(bounds='time_bnds', long_name='time'), attrs=dict(units='K', cell_methods='time: mean'),
              lat=np.linspace(-90, 90, 7), more=lambda d: (var(d, 'gw', ('lat',), 1.),
        var(d, 'date', ('time',), 20000201, 'i4'), var(d, 'P0', (), 1e5))),
    ncep=dict(lat=np.linspace(90, -90, 73), lon=np.arange(0., 360, 30), units='hours since 1800-01-01 00:00:0.0',
              time=since('hours since 1800-01-01', E[:-1]),
              attrs=dict(units='millibars', missing_value=np.float32(-9.96921e36),
                         valid_range=np.array([-870,1150], 'f4')),
              tattrs=dict(delta_t='0000-01-00 00:00:00', prev_avg_period='0000-00-01 00:00:00')),
    cobe=dict(units='days since 1891-01-01 00:00', time=since('days since 1891-01-01', E[:-1]), lat=LAT[::-1],
              fill=np.float32(1e20), x=np.where(LON<60, 1e20, numbers()),
              attrs=dict(units='degC', missing_value=np.float32(1e20), valid_range=np.array([-5,40], 'f4'))))

@pytest.mark.parametrize('case', LAYOUTS)
def test_layouts_of_archives(tmp_path, case):
    kw = dict(LAYOUTS[case]); how = kw.pop('read', {})
    with warnings.catch_warnings():
        warnings.simplefilter('error', xr.SerializationWarning)
        f = read(write(tmp_path/'a.nc', **kw), **how)
    v = f.values[:,-1,-1]
    assert first(f) == '2000-01' and (np.diff(f.lat) > 0).all() and (f.time.dt.month.values
            == np.floor(v+.01)).all() and float(f.max()) < 13 and float(f.min()) > .9

# ---- arrays in memory

T = 240
def memory(lat=np.arange(0., 15, 2)):
    return xr.DataArray(np.random.default_rng(0).normal(size=(T,len(lat),10)),
                        dict(time=pd.date_range('1980', periods=T, freq='MS'), lat=lat,
                             lon=np.arange(200., 220, 2)), ('time','lat','lon'), 'sst')
Y = xr.DataArray(np.random.default_rng(1).normal(size=T),
                 dict(time=pd.date_range('1980', periods=T, freq='MS')), ('time',))
A = memory()
SAME = dict(descending=A[:,::-1], dataset=A.to_dataset(), lists=[A], transposed=A.transpose('lon','time','lat'),
            other_names=A.rename(lat='latitude', lon='longitude', time='valid_time'),
            mid_month=A.assign_coords(time=A.time+np.timedelta64(14, 'D')), lazy=A.chunk(time=50),
            lazy_descending=A[:,::-1].chunk(time=50), wrapped=A.assign_coords(lon=A.lon-360), turned=A[:,:,::-1],
            mask_beside=A.to_dataset().assign(mask=A[0]>0), stacked=A.expand_dims(variable=['sst'], axis=1),
            stacked_upside=A[:,::-1].expand_dims(variable=['sst'], axis=1))

@pytest.mark.parametrize('case', SAME)
def test_arrays_in_any_order_are_the_same_problem(case):
    p,q = climate_problem(A, Y, leads=2),climate_problem(SAME[case], Y, leads=2)
    np.testing.assert_array_equal(p.design.u, q.design.u)
    np.testing.assert_array_equal(p.y, q.y)
    assert p.config['variables'] == q.config['variables'] == ['sst']

@pytest.mark.parametrize('y', [Y.to_series(), pd.Series(Y.values, Y.time.to_index().to_period('M')),
                               pd.Series(Y.values, Y.time.to_index()+pd.Timedelta('14D')),
                               Y.to_series()[::-1].sort_index(), Y.to_series().to_frame('a')],
                         ids=['series','periods','mid','sorted','frame'])
def test_targets_of_pandas(y):
    np.testing.assert_array_equal(np.ravel(climate_problem(A, y, leads=2).y), climate_problem(A, Y, leads=2).y)

def end_stamped():
    ds = A.to_dataset(); t = ds.time.values; end = (t.astype('M8[M]')+1).astype('M8[ns]')
    return ds.assign_coords(time=('time', end,
                                  dict(bounds='time_bnds'))).assign(time_bnds=(('time','nv'), np.c_[t,end]))
def test_bounds_of_a_dataset_count():
    np.testing.assert_array_equal(climate_problem(end_stamped(), Y, leads=2).design.u,
                                  climate_problem(A, Y, leads=2).design.u)

BAD = dict(sentinel=(A.where(A > -1, -1000.), 'sst in memory holds .* times -1000'),
           sentinel_stacked=(A.where(A > -1, -1000.).expand_dims(variable=['sst'], axis=1), 'sst in memory holds'),
           lazy_sentinel=(A.where(A > -1, -1000.).chunk(time=50), 'sst in memory holds'),
           no_lat=(A.drop_vars('lat'), 'does not say where its cells are'),
           complex=(A.astype(complex), 'must hold real numbers; got complex128'),
           dates=(A.astype('M8[ns]'), 'must hold real numbers'),
           packed=(A.assign_attrs(scale_factor=.1), 'still packed'), no_time=(A.drop_vars('time'), 'time axis'),
    curved=(A.rename(lat='y', lon='x').drop_vars(['y','x']).assign_coords(lat=(('y','x'), np.ones((8,10))),
        lon=(('y','x'), np.ones((8,10)))), 'curved or rotated'), hole=(A[np.r_[:50,60:T]], '1984-03 is missing'),
    twice=(A[np.r_[:50,49:T]], 'more than once'),
    lost_bounds=(end_stamped().sst, 'its bounds, time_bnds, are not in the file'),
    unequal=(memory(UNEVEN), 'equally spaced'),
    radians=(A.assign_coords(lat=('lat', A.lat.values, dict(units='radians'))), 'must be in degrees'),
    two=([A, A], 'one name'))

@pytest.mark.parametrize('case', BAD)
def test_arrays_that_are_refused(case):
    x,text = BAD[case]
    with pytest.raises(DataError, match=text): climate_problem(x, Y, leads=2)

@pytest.mark.parametrize('y,text', [(pd.Series(Y.values), 'must have dates as its index; got RangeIndex'),
                                    (Y.to_series().reset_index(drop=True).to_frame(), 'must have dates'),
                                    (pd.Series(Y.values, Y.time.to_index().astype(str)), 'must have dates'),
                                    (Y.to_series().iloc[np.r_[:50,60:T]], '1984-03 is missing')])
def test_targets_that_are_refused(y, text):
    with pytest.raises(DataError, match=text): climate_problem(A, y, leads=2)

def test_variables_are_chosen():
    ds = xr.Dataset(dict(a=A, b=A*2, c=A*3))
    p = climate_problem(ds, Y, leads=2, variables=['c','a'])
    assert p.config['variables'] == ['c','a']
    np.testing.assert_array_equal(p.design.u, climate_problem([(A*3).rename('c'), A.rename('a')], Y, leads=2).design.u)

def test_options_on_the_command_line(tmp_path, no_pictures, capsys):
    e = edges(T, 1980)
    write(tmp_path/'o.nc', np.where(A[:,:5].values < -1.5, -1000, A[:,:5].values).repeat(2, 2)[:,:,:12], time=e[1:],
          more=lambda d: var(d, 'flag', ('time','lat','lon'), RNG.normal(size=(T,5,12)), 'f4'))
    y = xr.DataArray(RNG.gamma(2, size=(1,T)), dict(division=['0201'], state=('division', ['AZ']), time=Y.time),
                     ('division','time'), 'precip', dict(units='inch'))
    y.reset_coords('state').to_netcdf(tmp_path/'r.nc')
    run = lambda *a: (main(['climate', '--ocean', str(tmp_path/'o.nc'), '--rain', str(tmp_path/'r.nc'), '--region',
                            'AZ', '--leads', '2', '--rank', '1', '--schedule', '5x12', '--out', str(tmp_path/'out'),
                            *a]), capsys.readouterr().err)
    assert '--stamp end' in run()[1] and '--missing' in run('--stamp',
            'end')[1] and "no variable x in the files: they hold sst, flag" in run('--stamp', 'end', '--missing',
            '-1000', '--variables', 'x')[1] and '--missing takes numbers' in run('--missing',
            'x')[1] and not (tmp_path/'out').exists()
    code,err = run('--stamp', 'end', '--missing=-1000', '--variables', 'sst'); assert code == 0, err
    assert main(['predict', str(tmp_path/'out'), '--ocean', str(tmp_path/'o.nc'), '--out', str(tmp_path/'p.csv')]) == 0

# ---- damage, bugs and memory

def test_an_error_of_our_own_is_not_called_damage(tmp_path, monkeypatch):
    write(tmp_path/'a.nc'); monkeypatch.setattr(readers, 'file_layout', None)
    with pytest.raises(ZeroDivisionError), readers.opened(tmp_path/'a.nc'): 1/0
    with pytest.raises(KeyError), readers.opened(tmp_path/'a.nc') as ds: ds['gone']

def test_memory_that_does_not_suffice_is_one_sentence(tmp_path, monkeypatch):
    f, = open_fields(write(tmp_path/'a.nc'))
    def none(*a, **k): raise MemoryError('Unable to allocate 24. TiB')
    monkeypatch.setattr(xr.DataArray, 'values', property(none))
    with pytest.raises(DataError, match="a.nc' does not fit in memory.*24. TiB"):
        readers.read_values(xr.open_dataset(tmp_path/'a.nc', decode_times=False).sst,
                            readers.file_layout.__globals__['Layout'](repr(str(tmp_path/'a.nc')), '', False,
                *[dict(time='time', lat='lat', lon='lon')]*2, [], [], {}, LAT, LON, (np.arange(5), np.arange(12)),
                {}, {}, {}, {}), slice(None))

def test_a_dimension_of_absurd_length_is_refused_before_it_is_read(tmp_path):
    with netCDF4.Dataset(tmp_path/'a.nc', 'w') as d:
        d.createDimension('time', 10**12)
        d.createVariable('time', 'f8', ('time',), chunksizes=(10**6,), zlib=True)
    with pytest.raises(FormatError, match="'time' is said to have 1000000000000 entries"): open_fields(tmp_path/'a.nc')

THREADS = """
import sys, threading, time, numpy as np, xarray as xr
from mrtl.climate.fields import open_fields
d = {folder!r}; rng = np.random.default_rng(0)
for k in range(3): xr.Dataset(dict(sst=(('time','lat','lon'), rng.normal(size=(120,40,60)).astype('f4'))), dict(time=xr.date_range('1950-01-01', periods=120, freq='MS'), lat=np.arange(-39.,40,2), lon=np.arange(0.,360,6))).to_netcdf(f'{{d}}/{{k}}.nc', encoding=dict(sst=dict(zlib=True, chunksizes=(12,40,60))))
end = time.time()+3; seen = set()
def ours():
    f, = open_fields(f'{{d}}/0.nc')
    while time.time()<end: seen.add(float(f.values.sum(dtype=float)))
def theirs(k):
    while time.time()<end:
        with xr.open_dataset(f'{{d}}/{{k}}.nc') as ds: ds.load()
threads = [threading.Thread(target=ours), *(threading.Thread(target=theirs, args=(k,)) for k in (1, 2))]
[t.start() for t in threads]; [t.join(60) for t in threads]; print('alive', len(seen), any(t.is_alive() for t in threads))
"""
def test_threads_that_open_files_with_xarray_live(python, tmp_path):
    assert python(THREADS.format(folder=str(tmp_path))).splitlines()[-1] == 'alive 1 False'

@pytest.mark.parametrize('calendar', ['', 'moon', '365', ' '])
def test_calendars_that_are_none(calendar, tmp_path):
    E = edges()
    p = write(tmp_path/'a.nc', bounds=np.c_[E[:-1],E[1:]], tattrs=dict(bounds='time_bnds', calendar=calendar))
    with pytest.raises(DataError, match='time axis that cannot be read'): open_fields(p)
