"""Units: every spelling that providers use, what a unit of rain may mean, what rain can be, and the layouts of
monthly rain that are given away."""
import gzip, json, subprocess, sys, zipfile
import cftime, netCDF4, numpy as np, pandas as pd, pytest, xarray as xr
from hypothesis import given, settings, strategies as st
from mrtl.climate.amounts import MOST, Reading, monthly_total, rain_readings
from mrtl.climate.fields import open_fields
from mrtl.climate.model import climate_command, load_preps, predict_months, same_units
from mrtl.climate.rain import open_rain, rain_target
from mrtl.core import ConfigError, DataError, MRTLError, read_json
from mrtl.estimators import MRTLRegressor
from mrtl.units import parse_unit, same_unit, unit_name
from conftest import ROOT

IOWA = '40.5,43.5,-96.5,-90.5'
def write(path, x, name='precip', units='mm', calendar='standard', n=24, attrs=None, since='days since 1900-01-01',
          lat=np.arange(36.5, 50), lon=np.arange(-104.5, -80), dtype='f4', fill=None, about=None, more=None,
          y0=2000, kind='NETCDF4'):
    "Monthly rain as a netCDF file, one number everywhere or an array."
    time = np.array([12*(y0-int(since.split()[2][:4]))+i for i in range(n)],
                    float) if since.startswith('months') else np.array(cftime.date2num([cftime.datetime(y0+i//12,
            i%12+1, 16, calendar=calendar) for i in range(n)], since, calendar), float)
    with netCDF4.Dataset(path, 'w', format=kind) as d:
        d.setncatts(about or {})
        for k,c,u in ('time', time, since),('lat', lat, 'degrees_north'),('lon', lon, 'degrees_east'):
            d.createDimension(k, len(c)); v = d.createVariable(k, 'f8', (k,)); v[:] = c; v.units = u
        d['time'].calendar = calendar
        for k,values,unit,a in [(name, x, units, attrs or {}), *(more or [])]:
            v = d.createVariable(k, dtype, ('time', 'lat', 'lon'), fill_value=fill)
            v.setncatts(dict(a) | ({} if unit is None else dict(units=unit)))
            v[:] = np.broadcast_to(values, (n, len(lat), len(lon))) if np.ndim(values) < 3 else values
    return path

# ---- spellings: (text, millimetres in one, a rate by day?)

SPELLINGS = {'mm': (1, 0), 'millimeter': (1, 0), 'millimeters': (1, 0), 'millimetres': (1, 0),
             'Millimeters': (1, 0), 'mm/mon': (1, 0), 'mm/month': (1, 0), 'mm month-1': (1, 0), 'mm mon-1': (1, 0),
             'mm.month-1': (1, 0), 'mm per month': (1, 0), 'MM/Month': (1, 0), 'mm/mo': (1, 0), 'kg m-2': (1, 0),
    'kg m**-2': (1, 0), 'kg/m2': (1, 0), 'kg/m^2': (1, 0), 'kg.m-2': (1, 0), 'kg*m-2': (1, 0),
    'kg m-2 month-1': (1, 0), 'l/m2': (1, 0), 'cm': (10, 0), 'cm/month': (10, 0), 'centimeters': (10, 0),
    'm': (1000, 0), 'meters': (1000, 0), 'm of water equivalent': (1000, 0), 'm water equivalent': (1000, 0),
    'm w.e.': (1000, 0), 'mm H2O': (1, 0),
    'mm (water equivalent)': (1, 0), 'lwe mm': (1, 0), 'inch': (25.4, 0), 'in': (25.4, 0), 'inches': (25.4, 0),
    'inch/month': (25.4, 0), 'inches/month': (25.4, 0), 'in/month': (25.4, 0), 'hundredths of inches': (.254, 0),
    '0.01 inch': (.254, 0), '0.1 mm': (.1, 0), 'tenths of mm': (.1, 0), 'tenths of a mm': (.1, 0), '1e-3 m': (1, 0),
    '1/10 mm': (.1, 0), 'ft': (304.8, 0),
    'mm/day': (1, 1), 'mm day-1': (1, 1), 'mm d-1': (1, 1), 'mm/d': (1, 1), 'mm/dy': (1, 1), 'mm per day': (1, 1),
    'mm day**-1': (1, 1), 'mm*day^-1': (1, 1), 'mm/(day)': (1, 1), '0.1mm/day': (.1, 1), 'kg/m2/day': (1, 1),
    'kg m-2 d-1': (1, 1), 'kg m-2 day-1': (1, 1), 'm/day': (1000, 1), 'm d**-1': (1000, 1), 'inch/day': (25.4, 1),
    'cm/day': (10, 1), 'mm/hr': (24, 1), 'mm/h': (24, 1), 'mm hr-1': (24, 1),
    'mm/s': (86400, 1), 'mm s-1': (86400, 1), 'kg m-2 s-1': (86400, 1), 'kg.m-2.s-1': (86400, 1),
    'kg/m2/s': (86400, 1), 'kg m^-2 s^-1': (86400, 1), 'kg m**-2 s**-1': (86400, 1), 'Kg m-2 s-1': (86400, 1),
    'g m-2 s-1': (86.4, 1), 'm s-1': (86.4e6, 1), 'm s**-1': (86.4e6, 1), 'mm/yr': (1/365.25, 1),
    'kg  m-2  s-1 ': (86400, 1)}

@pytest.mark.parametrize('text', SPELLINGS)
def test_spellings(text):
    mm,rate = SPELLINGS[text]; r = rain_readings(text, dict(long_name='monthly total') if not rate else {})[0]
    assert r.mm == pytest.approx(mm, rel=1e-9) and r.rate == bool(rate)

@pytest.mark.parametrize('text', ['', 'K', 'degC', 'hPa', 'm3', '1', '%', 'mm2', 'mm/(month day)', 'kg', 'kg m-3',
                                  'kg/(m2 s)', 's', 'moons', '9**9**9**9', '10**10**10 mm', '__import__("os")',
                                  'mm; rm', 'mm/3h', 'm'*500, 'W m-2', 'mm\x00', 'mm day-1 K-1',
                                  'day/mm', '-mm', 'mm/day/day'])
def test_no_units_of_rain(text): assert rain_readings(text, {}) == []

@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='mkgsdayinch0123456789*/^.-() ×°KC', max_size=25) | st.text(max_size=20))
def test_any_text_is_read_or_not(text):
    "No text raises, or takes long."
    u = parse_unit(text)
    assert u is None or np.isfinite(u.factor)
    unit_name(text); same_unit(text, 'mm')
    rain_readings(text, {})

@pytest.mark.parametrize('text,name', [('K', 'K'), ('Kelvin', 'K'), ('kelvins', 'K'), ('degK', 'K'), ('deg_K', 'K'),
                                       ('degC', 'degC'), ('Celsius', 'degC'), ('degrees_C', 'degC'),
                                       ('degree_Celsius', 'degC'), ('deg C', 'deg C'), ('°C', 'degC'),
                                       ('C', 'degC'), ('degF', 'degF'), ('degrees_F', 'degF'),
                                       ('Fahrenheit', 'degF'), ('psu', 'psu'), ('hPa', 'hPa')])
def test_names_of_temperatures(text, name): assert unit_name(text) == name

@pytest.mark.parametrize('a,b,same', [('mm', 'millimeter', 1), ('mm', 'mm/month', 1), ('inch', 'in/mon', 1),
                                      ('mm', 'cm', 0), ('mm/day', 'mm d-1', 1), ('mm/day', 'mm', 0),
                                      ('kg m-2', 'kg/m2', 1), ('degC', 'Celsius', 1), ('degC', 'K', 0),
                                      ('degC', 'degF', 0), ('MPa', 'mPa', 0), ('odd', 'odd', 1), ('odd', 'even', 0),
                                      ('', '', 1), ('mm', '', 0)])
def test_same_unit(a, b, same): assert same_unit(a, b) == same_unit(b, a) == bool(same)

def test_units_of_several_fields():
    assert same_units('sst: degC, slp: Pa', 'slp: Pa, sst: Celsius') and not same_units('sst: degC, slp: Pa',
            'sst: degC') and not same_units('sst: degC', 'sst: K') and same_units('mm', 'mm/month')

# ---- what a depth means: (unit, attributes, one number everywhere, mm of February 2001 or the words of the error)

ERA5 = dict(GRIB_shortName='tp', GRIB_paramId=228, long_name='Total precipitation')
MEANINGS = {
    'case 08, no step type': ('m', dict(GRIB_shortName='tp', long_name='Total precipitation'), .003, 84.),
    'CDS now: avgad': ('m', ERA5 | dict(GRIB_stepType='avgad'), .003, 84.),
    'CDS now: avgua': ('m', ERA5 | dict(GRIB_stepType='avgua'), .003, 84.),
    'grib_to_netcdf of monthly means': ('m',
                                        dict(long_name='Total precipitation',
                                             _about=dict(history='grib_to_netcdf.bin -S param -o out.nc; '
        'reanalysis-era5-single-levels-monthly-means')), .003, 84.),
    'ERA5-Land, water equivalent': ('m of water equivalent',
                                    dict(long_name='Snowfall', GRIB_stepType='avgad'), .003, 84.),
    'a desert under ERA5': ('m', ERA5 | dict(GRIB_stepType='avgad'), .0001, 2.8),
    'hourly sums added up by the reader': ('m', ERA5 | dict(GRIB_stepType='accum'), .09, 90.),
    'hourly sums, in doubt': ('m', ERA5 | dict(GRIB_stepType='accum'), .003, 'may mean m, m/day;'),
    'cdo monsum': ('m', dict(_about=dict(history='cdo monsum era5.nc out.nc',
                                         institution='European Centre for Medium-Range Weather Forecasts')), .003, 3.),
    'metres alone, in doubt': ('m', {}, .003, "--rain-units 'm/day'"),
    'metres alone, plainly a month': ('m', {}, .09, 90.),
    'metres that are neither': ('m', {}, 3., 'which would be 3000 mm'),
    'time: sum': ('m', dict(cell_methods='time: sum'), .003, 3.),
    'mm, time: mean, in doubt': ('mm', dict(cell_methods='time: mean'), 3., 'may mean mm, mm/day;'),
    'mm, time: mean, plain': ('mm', dict(cell_methods='time: mean'), 90., 90.),
    'a flux with the unit of an amount': ('kg m-2', dict(standard_name='precipitation_flux'), 3e-5, 3e-5*86400*28),
    'E-OBS: mean of daily sums, in doubt': ('mm', dict(standard_name='thickness_of_rainfall_amount'), 2.5,
                                            'may mean mm, mm/day'),
    'a total': ('mm', {}, 60., 60.), 'a desert that says month': ('mm/month', {}, 3., 3.),
    'a desert that says total': ('mm', dict(long_name='monthly total precipitation'), 3., 3.),
    'mm x 10, plain': ('mm x 10', {}, 800., 80.), 'mm*10, in doubt': ('mm*10', {}, 100., 'may mean 0.1 mm, 10 mm'),
    'tenths': ('0.1 mm', {}, 800., 80.),
    'flux called mm': ('mm', {}, 3e-5, 'hardly a region is as dry'),
    'metres called kg m-2': ('kg m-2', {}, .08, 'hardly a region is as dry'),
    'a sum of a century': ('mm', {}, 80_000., 'like 80000 in 2000-01'),
    'sums of years': ('mm/month', {}, 1500., 'no place on earth has 1200'),
    'negative': ('mm', {}, -5., 'like -5 in 2000-01'),
    'a rate too large': ('mm/day', {}, 400., 'like 12400 in 2000-01'),
    'inches that are mm': ('inch', {}, 80., 'would be 2032 mm')}

@pytest.mark.parametrize('how', MEANINGS)
def test_what_a_depth_means(tmp_path, how):
    units,attrs,v,want = MEANINGS[how]; about = attrs.get('_about')
    attrs = {k: a for k,a in attrs.items() if k != '_about'}
    f = write(tmp_path/'r.nc', v, 'tp', units, attrs=attrs, about=about)
    if isinstance(want, str):
        with pytest.raises(DataError, match='(?s)'+want) as e: rain_target(f, IOWA)
        assert 'tp' in str(e.value) and '--rain-units' in str(e.value)
    else:
        y = rain_target(f, IOWA); mm = rain_readings(y.attrs['units'], dict(long_name='monthly total'))[0].mm
        assert float(y.sel(time='2001-02').values[0])*mm == pytest.approx(want, rel=1e-5)

def test_the_option_settles_it(tmp_path):
    f = write(tmp_path/'r.nc', .003, 'tp', 'm')
    for units,want in {'m/day': 84., 'm': .003, 'mm/day': .084, 'm/hour': 2016.}.items():
        assert float(rain_target(f, IOWA, units=units).sel(time='2001-02').values[0]) == pytest.approx(want, rel=1e-5)
    assert rain_target(f, IOWA, units='m').units == 'm' and rain_target(write(tmp_path/'n.nc', 90., units=None),
            IOWA, units='mm').units == 'mm'
    for u in 'K', '', 'mm x 10', 'moons':
        with pytest.raises(ConfigError, match='is no unit of rain'): rain_target(f, IOWA, units=u)

def test_words_of_a_number():
    d = lambda **a: [r.said for r in rain_readings('mm', a)]
    assert (d() == ['mm', 'mm/day'] and d(cell_methods='time: sum') == ['mm']
            and d(cell_methods='time: mean') == ['mm', 'mm/day', 'mm/hour']
            and rain_readings('mm/day', dict(cell_methods='time: sum'))[0].rate)
    # what the error names is taken
    for r in rain_readings('kg m-2', dict(standard_name='precipitation_flux'))[1:]:
        assert rain_readings(r.said, {})[0].mm == pytest.approx(r.mm)

@pytest.mark.parametrize('v,ok', [(0., True), (-.05, True), (-.2, False), (MOST-1, True),
                                  (MOST+1, False), (np.inf, False)])
def test_bounds_of_a_value(tmp_path, v, ok):
    x = np.full((24, 14, 25), 50.); x[5, 6, 12] = v; f = write(tmp_path/'r.nc', x)
    if ok: assert np.isfinite(rain_target(f, IOWA)).all()
    else:
        with pytest.raises(DataError, match='1 values that are no rain, like .* in 2000-06'): rain_target(f, IOWA)

# ---- months of a calendar

@pytest.mark.parametrize('calendar,since,leap,other',
                         [('standard', 'days since 1900-01-01', 29, 31),
                          ('noleap', 'days since 1900-01-01', 28, 31), ('365_day', 'days since 1850-01-01', 28, 31),
                          ('360_day', 'days since 1900-01-01', 30, 30),
                          ('all_leap', 'days since 1900-01-01', 29, 31),
                          ('proleptic_gregorian', 'days since 1900-01-01', 29, 31),
                          ('julian', 'days since 1900-01-01', 29, 31), ('360_day', 'months since 1960-01-01', 29, 31)])
def test_days_of_the_files_calendar(tmp_path, calendar, since, leap, other):
    "The last is IRI's way to write months of our own calendar."
    f = write(tmp_path/'r.nc', 3., units='mm/day', calendar=calendar, since=since, n=36); y = rain_target(f, IOWA)
    np.testing.assert_allclose(y.sel(time=['2000-02-01', '2000-03-01']), [3*leap, 3*other], rtol=1e-6)
    assert 'month_days' not in y.coords and y.units == 'mm/month'
    if since.startswith('days'):
        mid = [cftime.datetime(2000+i//12, i%12+1, 16, calendar=calendar) for i in range(36)]
        a = open_fields(f)[0].load().assign_coords(time=mid)
        np.testing.assert_allclose(rain_target(a, IOWA)[1:3], [3*leap, 3*other], rtol=1e-6)

def test_files_of_two_calendars(tmp_path):
    a,b = write(tmp_path/'a.nc', 3., units='mm/day', calendar='noleap'),write(tmp_path/'b.nc', 3., units='mm d-1',
            calendar='360_day', y0=2002)
    np.testing.assert_allclose(rain_target([b, a], IOWA).sel(time=['2000-02-01', '2002-02-01']), [84, 90], rtol=1e-6)

# ---- layouts as providers write them (after their headers): name, unit, and what is around

RNG = np.random.default_rng(0)
def some(mean, n=24, shape=(14, 25)): return RNG.gamma(2., mean/2, (n, *shape)).astype('f4')
FEW = RNG.integers(0, 9, (24, 14, 25)).astype('f4')
LAYOUTS = {
    'CRU TS': dict(name='pre', units='mm/month', fill=np.float32(9.96921e36),
                   attrs=dict(long_name='precipitation', correlation_decay_distance=np.float32(450)),
                   more=[('stn', FEW, None, dict(description='number of stations contributing to each datum'))],
                   about=dict(title='CRU TS4.07 Precipitation')),
    'GPCC full data': dict(name='precip', units='mm/month', fill=np.float32(-99999.99),
                           attrs=dict(long_name='gpcc full data monthly product version 2022, '
                                      'precipitation per grid'), more=[('numgauge', FEW,
        'number of gauges per gridcell', {}), ('infilled_numgauges', FEW, '1', {}),
        ('interpolation_error', FEW, '%', {})]),
    'GPCC at PSL': dict(name='precip', units='mm', fill=np.float32(-9.96921e36),
                        attrs=dict(long_name='GPCC Monthly total of precipitation', statistic='Total')),
    'UDel at PSL': dict(name='precip', units='cm', mm=10, attrs=dict(long_name='Monthly total of precipitation',
        cell_methods='time: sum (monthly from values)')),
    'CPC PREC/L': dict(name='precip', units='mm/day', rate=1,
                       attrs=dict(long_name="NOAA's PRECipitation REConstruction over Land Monthly Average")),
    'CMAP': dict(name='precip', units='mm/day', rate=1,
                 attrs=dict(long_name='Average Monthly Rate of Precipitation')),
    'CPC at IRI': dict(name='prate', units='mm/month', since='months since 1960-01-01', calendar='360_day',
                       attrs=dict(standard_name='lwe_precipitation_rate')),
    'GPCP v2.3': dict(name='precip', units='mm/day', rate=1,
                      attrs=dict(long_name='NOAA Climate Data Record (CDR) of GPCP Monthly Satellite-Gauge '
                                 'Combined Precipitation', cell_methods='area: mean time: mean'),
                      more=[('precip_error', FEW, 'mm/day', {})]),
    'nClimGrid': dict(name='prcp', units='millimeter', attrs=dict(long_name='Precipitation, monthly total',
        standard_name='precipitation_amount'), fill=np.float32(np.nan)),
    'CHIRPS': dict(name='precip', units='mm/month', fill=np.float32(-9999),
                   attrs=dict(standard_name='convective precipitation rate',
                              long_name='Climate Hazards group InfraRed Precipitation with Stations')),
    'CMIP6': dict(name='pr', units='kg m-2 s-1', mm=86400, rate=1, calendar='noleap', since='days since 1850-01-01',
                  fill=np.float32(1e20), attrs=dict(standard_name='precipitation_flux',
        cell_methods='area: time: mean')), 'GSMaP': dict(name='precip', units='mm/hr', mm=24, rate=1,
        attrs=dict(long_name='monthly averaged precip [mm/hr]')),
    'MSWEP': dict(name='precipitation', units='mm/month', since='days since 1899-12-31'),
    'IMERG': dict(name='precipitation', units='mm/hr', mm=24, rate=1,
                  more=[('randomError', FEW, 'mm/hr', {}), ('precipitationQualityIndex', FEW, '1', {}),
                        ('gaugeRelativeWeighting', FEW, '%', {})]),
    'NCEP reanalysis': dict(name='prate', units='Kg/m^2/s', mm=86400, rate=1,
                            attrs=dict(long_name='Monthly Mean of Precipitation Rate')),
    'TerraClimate': dict(name='ppt', units='mm',
                         attrs=dict(long_name='precipitation_amount', description='Accumulated precipitation',
                                    standard_name='precipitation_amount'))}

@pytest.mark.parametrize('packed', ['', '.gz', '.zip'])
@pytest.mark.parametrize('who', LAYOUTS)
def test_layouts(tmp_path, who, packed):
    kw = dict(LAYOUTS[who])
    mm,rate = kw.pop('mm', 1),kw.pop('rate', 0)
    x = some(60/mm/(30 if rate else 1))
    f = write(tmp_path/'r.nc', x, **kw)
    if packed == '.gz': (tmp_path/'r.nc.gz').write_bytes(gzip.compress(f.read_bytes(), 1)); f = tmp_path/'r.nc.gz'
    if packed == '.zip':
        with zipfile.ZipFile(tmp_path/'r.zip', 'w') as z: z.write(f, 'data_stream-moda.nc')
        f = tmp_path/'r.zip'
    y = rain_target(f, IOWA)
    plain = xr.DataArray(x, dict(time=y.time.values, lat=np.arange(36.5, 50), lon=np.arange(-104.5, -80)),
                         ('time', 'lat', 'lon'), attrs=dict(units='mm/month'))
    days = y.time.dt.days_in_month if kw.get('calendar') != 'noleap' else np.array([31, 28, 31, 30, 31, 30,
            31, 31, 30, 31, 30, 31]*2)
    np.testing.assert_allclose(y, rain_target(plain*(mm if rate else 1), IOWA, units='mm')*(days if rate else 1),
                               rtol=1e-5)
    assert y.units == ('mm/month' if rate else kw['units'])

def test_which_variable(tmp_path):
    f = write(tmp_path/'r.nc', 60., 'pr', more=[('tp', 70., 'mm', {})])
    with pytest.raises(DataError, match='which variable is the rain.*pr, tp.*--rain-variable'): rain_target(f, IOWA)
    assert rain_target(f, IOWA, variable='tp')[0] == pytest.approx(70)
    with pytest.raises(DataError, match='no variable rr'): rain_target(f, IOWA, variable='rr')

def test_options_of_the_rain_are_named(tmp_path):
    x = some(60); x[:, :3] = -88.; f = write(tmp_path/'r.nc', x-0, units='mm')
    with pytest.raises(DataError, match='say missing=.-88. .--rain-missing -88'): rain_target(f, '37,49,-104,-80')
    assert rain_target(f, '37,49,-104,-80', missing=[-88]).notnull().all()
    start = np.cumsum([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])+36524.
    ds = xr.open_dataset(write(tmp_path/'s.nc', 60., n=12), decode_times=False).load()
    ds['time'] = ('time', start, ds.time.attrs)
    ds.to_netcdf(tmp_path/'e.nc')
    with pytest.raises(DataError, match='--rain-stamp'): rain_target(tmp_path/'e.nc', IOWA)
    assert str(rain_target(tmp_path/'e.nc', IOWA, stamp='end').time.values[0])[:7] == '2000-01'

@pytest.mark.parametrize('change', ['bounds', 'nothing'])
def test_bounds_of_a_table(tmp_path, change):
    "A table by division whose stamps end their months, with bounds that say so."
    ends = np.cumsum([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])+0.
    ds = xr.Dataset(dict(precip=(('division', 'time'), np.full((2, 12), 3.), dict(units='inch')),
                         time_bnds=(('time', 'nv'), np.c_[ends-[31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31],
            ends])), dict(division=['0201', '0202'],
                          time=('time', ends, dict(units='days since 2001-01-01', bounds='time_bnds'))))
    ds.drop_vars('time_bnds' if change == 'nothing' else []).to_netcdf(tmp_path/'r.nc')
    if change == 'bounds': assert str(rain_target(tmp_path/'r.nc', 'all').time.values[0])[:7] == '2001-01'
    else:
        with pytest.raises(DataError, match='--rain-stamp'): rain_target(tmp_path/'r.nc', 'all')

# ---- temperatures of the ocean

@pytest.mark.parametrize('a,b', [('K', 'degC'), ('degC', 'degF'), ('kelvin', 'Celsius'), ('degF', 'K')])
def test_mixed_temperatures_are_refused(tmp_path, a, b):
    x = some(15, shape=(14, 25)); f,g = write(tmp_path/'a.nc', x, 'sst', a),write(tmp_path/'b.nc', x, 'sst', b, y0=2002)
    with pytest.raises(DataError, match='has the unit .* in .*convert one of them'): open_fields([f, g])

@pytest.mark.parametrize('a,b', [('degC', 'Celsius'), ('K', 'kelvin'), ('degF', 'degrees_F'),
                                 ('deg_C', 'degrees_celsius')])
def test_spellings_of_temperature_are_joined(tmp_path, a, b):
    x = some(15)
    assert open_fields([write(tmp_path/'a.nc', x, 'sst', a),
                        write(tmp_path/'b.nc', x, 'sst', b, y0=2002)])[0].sizes['time'] == 48

# ---- the command, and what comes out

def test_the_command(tmp_path, capsys):
    rng = np.random.default_rng(0); n = 240
    sea = rng.normal(size=(n, 4, 6)).cumsum(1)
    ocean = write(tmp_path/'sst.nc', sea, 'sst', 'degC', n=n, lat=np.arange(-15., 16, 10),
                  lon=np.arange(-175., -120, 10))
    lat,lon = np.arange(40.5, 44),np.arange(-97.5, -89)
    rain = write(tmp_path/'tp.nc', (.003+.0005*sea[:, 2, 2]).clip(0)[:, None, None]*np.ones((4, 9)), 'tp',
                 'm', n=n, lat=lat, lon=lon)
    with pytest.raises(DataError, match="--rain-units 'm/day'"):
        climate_command([str(ocean)], [str(rain)], region='41,43,-96.5,-90.5', leads=2, rank=1, out=tmp_path/'run')
    climate_command([str(ocean)], [str(rain)], region='41,43,-96.5,-90.5', leads=2, rank=1, out=tmp_path/'run',
                    rain_units='m/day', seed=0)
    config = read_json(tmp_path/'run'/'config.json')
    assert config['rain_as'] == dict(units='m/day') and load_preps(tmp_path/'run')[1][1] == 'mm/month'
    predict_months(tmp_path/'run', tmp_path/'p.csv', config, [str(ocean)], [str(rain)])
    assert (tmp_path/'p.csv').is_file()
    other = write(tmp_path/'inch.nc', 3., 'tp', 'inch/month', n=n, lat=lat, lon=lon)
    with pytest.raises(DataError, match='must be in the units of the run, mm/month; got inch'):
        predict_months(tmp_path/'run', tmp_path/'q.csv', {k: v for k,v in config.items() if k != 'rain_as'},
                       [str(ocean)], [str(other)])

def test_the_command_by_evidence(tmp_path, capsys):
    rng = np.random.default_rng(0); n = 240; sea = rng.normal(size=(n, 4, 6)).cumsum(1)
    ocean = str(write(tmp_path/'sst.nc', sea, 'sst', 'degC', n=n, lat=np.arange(-15., 16, 10),
                      lon=np.arange(-175., -120, 10)))
    wet = (.003+.0005*np.roll(sea[:, 2, 2], 1)+.0005*rng.normal(size=n)).clip(0)[:, None, None]*np.ones((4, 9))
    rain = str(write(tmp_path/'tp.nc', wet, 'tp', 'm', n=n, lat=np.arange(40.5, 44), lon=np.arange(-97.5, -89)))
    run = tmp_path/'run'; ask = dict(region='41,43,-96.5,-90.5', leads=2, rain_units='m/day', out=run, seed=0)
    with pytest.raises(ConfigError, match='does not read --smooth'):
        climate_command([ocean], [rain], **ask, method='evidence', smooth=1.)
    assert not run.exists()
    climate_command([ocean], [rain], **ask, method='auto')
    config,m = read_json(run/'config.json'),MRTLRegressor.load(run/'model.mrtl')
    assert m.method_ == 'evidence' and config['method'] == 'auto' and config['rank'] is None
    assert read_json(run/'metrics.json')['test']['r2'] > .4
    p = pd.read_csv(run/'predictions.csv').query("set == 'test'")
    assert ((p.lower < p.truth) & (p.truth < p.upper)).mean() > .8
    predict_months(run, tmp_path/'p.csv', config, [ocean], [rain])
    assert pd.read_csv(tmp_path/'p.csv')['std'].notna().all() and 'Factor' in (run/'report.html').read_text()
    climate_command([ocean], [rain], **ask, method='auto', resume=True, bootstrap=2)
    assert (run/'bootstrap.nc').exists() and 'hatched' in (run/'report.html').read_text()

def test_pint_is_loaded_late():
    code = ("import sys, mrtl, mrtl.units, mrtl.readers, mrtl.climate.rain; assert 'pint' not in sys.modules; "
            "mrtl.units.parse_unit('mm/day'); assert 'pint' in sys.modules")
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)

def test_a_table_that_claims_to_be_huge(tmp_path):
    "Damage in a header: nothing is allocated."
    with netCDF4.Dataset(tmp_path/'r.nc', 'w') as d:
        d.createDimension('division', 1000)
        d.createDimension('time', 1_000_000)
        v = d.createVariable('precip', 'f8', ('division', 'time'), chunksizes=(10, 1000), zlib=True)
        v.units = 'inch'
    with pytest.raises(MRTLError, match='would unpack to 7.5 GiB'): rain_target(tmp_path/'r.nc', 'all')
