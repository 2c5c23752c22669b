"""Nasty climate data and options on the command line and in the public functions: a named error that says what was
wrong, given and to be done, or a stated behaviour; no file of a run is left behind."""
import json, shutil, zipfile
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from mrtl.cli import main
from mrtl.climate.prepare import climate_problem
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.climate.fields import open_fields
from mrtl.climate.prism import write_prism
from mrtl.climate.rain import rain_target
from mrtl.climate.regions import geojson_regions

N,LAT,LON = 216,np.arange(-25., 26, 10),np.arange(-175., -74, 10)
def months(n=N, start='1950-01'): return pd.date_range(start, periods=n, freq='MS')

def field(name='sst', units='degC', n=N, lat=LAT, lon=LON, start='1950-01', seed=0):
    x = np.random.default_rng(seed).normal(size=(n, len(lat), len(lon))).cumsum(1).cumsum(2)/5+20
    return xr.DataArray(x, dict(time=months(n, start), lat=lat, lon=lon), ('time','lat','lon'), name,
                        dict(units=units) if units else {})

def table(n=N, start='1950-01', seed=1):
    where = dict(division=['0201','0202','2901'], state=('division', ['AZ','AZ','NM']),
                 census_midwest=('division', np.array([0,0,1], 'int8')), time=months(n, start))
    return xr.DataArray(np.random.default_rng(seed).gamma(2., size=(3, n)), where, ('division','time'), 'precip',
                        dict(units='inch/month'))

def grid(n=N, units='mm', seed=2, step=1., start='1950-01'):
    lat,lon = np.arange(31+step/2, 37, step),np.arange(-115+step/2, -103, step)
    return xr.DataArray(np.random.default_rng(seed).gamma(2., 20., size=(n, len(lat), len(lon))),
                        dict(time=months(n, start), lat=lat, lon=lon), ('time','lat','lon'), 'ppt', dict(units=units))

S,R,G = field(),table(),grid()
def changed(da, at, value): da = da.copy(); da[at] = value; return da
def without(da, i): return da.isel(time=[t for t in range(da.sizes['time']) if t!=i])
def stamped(da, time): return da.assign_coords(time=time)
def to_nc(ds, path):
    ds = ds.to_dataset() if isinstance(ds, xr.DataArray) else ds
    path.unlink(missing_ok=True) if hasattr(path, "unlink") else None # a reader may still hold the old file
    ds.reset_coords([c for c in ("state","census_midwest") if c in ds.coords]).to_netcdf(path); return path

@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    "The files that nothing is wrong with, written once."
    out = {}
    for k,da,name in ('S', S, 'ocean.nc'),('R', R, 'rain.nc'),('G', G, 'rain.nc'):
        out[id(da)] = str(to_nc(da, tmp_path_factory.mktemp(k)/name))
    return out

@pytest.fixture
def put(tmp_path, plain):
    "Write what a case gives: arrays as netCDF, bytes and text as they are; None is no file."
    def write(what, name):
        if id(what) in plain: return [plain[id(what)]]
        if isinstance(what, (list, tuple)): return [p for i,w in enumerate(what) for p in write(w, f'{i}{name}')]
        if isinstance(what, (bytes, str)):
            (tmp_path/name).write_bytes(what if isinstance(what, bytes) else what.encode())
        elif what is not None: to_nc(what, tmp_path/name)
        return [str(tmp_path/name)]
    return write

@pytest.fixture
def climate(tmp_path, put, capsys):
    "Run `mrtl climate`: exit code, and what it says of an error."
    def run(*more, ocean=S, rain=R):
        region = () if '--region' in more else ('--region', 'AZ')
        code = main(['climate', '--ocean', *put(ocean, 'ocean.nc'), '--rain', *put(rain, 'rain.nc'), *region,
                     '--leads', '2', '--rank', '1', '--out', str(tmp_path/'out'), *map(str, more)])
        return code,capsys.readouterr().err
    return run

def told(found, text, out=None):
    "Exit code 2, one line in words that holds `text`, no run claimed."
    code,err = found
    assert code==2 and err.startswith('mrtl: ') and 'Traceback' not in err and len(err)>40, err
    line = err.strip().splitlines()[-1]
    assert all(t in line for t in text.split('|')), line
    if out is not None: assert not out.exists()

# ---- ocean

TWICE = 'months more than once|give monthly means'
OCEANS = dict(
    no_file=(None, "there is no file|ocean.nc|check the path"),
    empty_file=(b'', 'ocean.nc|cannot be read as netCDF|fetch it again'),
    page=(b'<html>404</html>', 'cannot be read as netCDF|fetch it again'),
    rain_by_division=(R, "no variable over time, latitude and longitude|precip ('division', 'time')"),
    month_missing=(without(S, 100), 'every month from 1950-01 to 1967-12|1958-05 is missing|fill it'),
    yearly=(stamped(S[:18], pd.date_range('1950', periods=18, freq='YS')), '1950-02 is missing'),
    daily=(stamped(S[:150], pd.date_range('1950-01-01', periods=150)), f'145 {TWICE}'),
    half_overlapping=((S[:120], S[100:]), f'20 {TWICE}|1958-05|0ocean.nc|1ocean.nc'),
    single_month=(S[:1], 'no target month has 2 months of ocean before it|1950-01 to 1950-01'),
    other_years=(field(start='2000-01'), 'the ocean runs from 2000-01 to 2017-12, the target from 1950-01 to 1967-12'),
    two_units=((S[:100], (S[100:]+273.15).assign_attrs(units='K')), 'sst has the unit degC|K in|convert one'),
    unit_in_one_file=((S[:100], field(units=None)[100:]), 'the unit degC|(none)|convert one'),
    two_grids_of_one_name=((S, field(lat=LAT+5)), 'another sst|on another grid|rename one of the variables'),
    places_apart=((S, field('slp', lat=LAT+60, lon=LON+180)), 'sst, slp have no place in common'),
    times_apart=((S, field('slp', start='1990-01')), 'no month in common|1990-01'),
    fill=(changed(S, (3,2,2), -999.), '1 times -999|fill value that the file does not declare|set its _FillValue'),
    large_fill=(changed(S, (3,2,2), 1e20), '1 times 1e+20'),
    infinite=(changed(S, (3,2,2), np.inf), '1 infinite values between|mask or replace'),
    no_values=(S*np.nan, 'sst has no value at all in 1950-01'),
    month_without_values=(changed(S, 50, np.nan), 'sst has no value at all in 1954-03'),
    two_levels=(S.expand_dims(level=[1,2], axis=1), "further dimension 'level', with 2 entries|choose one"),
    curved=(xr.Dataset(dict(sst=(('time','y','x'), S.values)), dict(time=S.time)),
            "no variable over time, latitude and longitude|sst ('time', 'y', 'x')"),
    uneven_rows=(S.assign_coords(lat=[-25.3,-15,-5.1,5,15,25.2]), 'equally spaced|regrid it first'),
    row_twice=(S.assign_coords(lat=[-25.,-25,-5,5,15,25]), 'must ascend|-25, -25'),
    row_nowhere=(S.assign_coords(lat=[-25,np.nan,-5,5,15,25]), 'numbers without gaps'),
    lost_columns=(S.assign_coords(lon=np.r_[LON[:5],LON[5:]+10]), 'equally spaced|10 to 20'),
    no_months=(S.drop_vars('time'), 'time axis that cannot be read|CF units'))

@pytest.mark.parametrize('case', OCEANS)
def test_oceans(case, climate, tmp_path): told(climate(ocean=OCEANS[case][0]), OCEANS[case][1], tmp_path/'out')

@pytest.mark.parametrize('units,calendar', [(None, None), ('fortnights since yesterday', None),
                                            ('day as %Y%m%d.%f', None), ('years since 1950-01-01', None),
                                            ('months since last', None), ('days since 1950-01-01', 'moon')])
def test_time_axes_that_cannot_be_read(units, calendar, climate, tmp_path):
    time = ('time', np.arange(N)*30., {k: v for k,v in dict(units=units, calendar=calendar).items() if v})
    told(climate(ocean=S.drop_vars('time').assign_coords(time=time)), f"ocean.nc|time axis that cannot be "
         f"read|{units or ''}|give it CF units", tmp_path/'out')

@pytest.mark.parametrize('keep', [.3, .6, .95])
def test_an_ocean_that_is_cut_off(keep, climate, tmp_path):
    whole = to_nc(S, tmp_path/'whole.nc').read_bytes()
    told(climate(ocean=whole[:int(len(whole)*keep)]), 'ocean.nc|damaged, cut short or of another '
         'kind|fetch it again', tmp_path/'out')

def test_zips_of_an_ocean(climate, tmp_path):
    whole = to_nc(S, tmp_path/'a.nc').read_bytes(); z = tmp_path/'ocean.nc.zip'
    def zipped(name, data):
        with zipfile.ZipFile(z, 'w') as f: f.writestr(name, data)
        return z.read_bytes()
    run = lambda: climate('--ocean', z, ocean=None)
    good = zipped('renamed.nc', whole); np.testing.assert_array_equal(open_fields(z)[0], S)
    z.write_bytes(bytes(good[:len(good)//2])+bytes(64)+good[len(good)//2+64:])
    told(run(), "'renamed.nc' in|ocean.nc.zip|damaged")
    z.write_bytes(good[:5000]); told(run(), 'ocean.nc.zip|cannot be read as a zip')
    zipped('readme.txt', b'x'); told(run(), 'holds no netCDF file but readme.txt')
    zipped('half.nc', whole[:len(whole)//2]); told(run(), "'half.nc' in|damaged, cut short")

def test_folders(climate, tmp_path):
    f = tmp_path/'folder'; f.mkdir()
    told(climate('--ocean', f, ocean=None), 'folder|holds no netCDF file, zip or zarr store', tmp_path/'out')
    told(climate('--rain', f), 'no monthly PRISM raster in|folder', tmp_path/'out')
    to_nc(S, f/'sst.nc')
    (f/'.DS_Store').write_bytes(b'x'); (f/'README').write_text('x')
    (f/'._sst.nc').write_bytes(b'\0\5'); (f/'sub').mkdir()
    np.testing.assert_array_equal(open_fields(f)[0], S)
    shutil.copy(f/'sst.nc', f/'copy.nc')
    told(climate('--ocean', f, ocean=None), f'216 {TWICE}|copy.nc|sst.nc', tmp_path/'out')

def test_a_zarr_store_with_damage(climate, tmp_path):
    pytest.importorskip('zarr'); run = lambda: climate('--ocean', tmp_path/'a.zarr', ocean=None)
    def write():
        shutil.rmtree(tmp_path/'a.zarr', ignore_errors=True)
        S.to_dataset().to_zarr(tmp_path/'a.zarr', encoding=dict(sst=dict(chunks=(24,6,11))), zarr_format=2)
        return tmp_path/'a.zarr'
    (write()/'sst'/'2.0.0').unlink(); told(run(), 'sst has no value at all in 1954-01')
    (write()/'sst'/'2.0.0').write_bytes(b'junk'); told(run(), "a.zarr|cannot be read as zarr|damaged")
    (write()/'sst'/'.zarray').write_text('{'); told(run(), 'a.zarr|cannot be read as zarr')
    shutil.rmtree(write()/'time'); told(run(), 'time axis that cannot be read')
    (write()/'lat'/'0').unlink(); told(run(), 'numbers without gaps')

def problem(ocean, **kw): return climate_problem(ocean, R, **dict(dict(region='AZ', leads=2), **kw))

@pytest.mark.parametrize('other', [S[:,:,::-1], S[:,::-1], S.assign_coords(lon=LON+360),
                                   S.assign_coords(lon=LON+720), S.isel(lon=[*range(5, 11), *range(5)]), S[::-1],
                                   S.convert_calendar('noleap'), (S[:100], S[100:].convert_calendar('noleap')),
                                   (S[100:], S[:100])], ids=str)
def test_orders_wraps_and_calendars_change_nothing(other, put):
    same,p = problem(S),problem(put(other, 'ocean.nc'))
    np.testing.assert_array_equal(p.design.u, same.design.u)
    assert (p.times==same.times).all() and p.fields.lat.equals(same.fields.lat)

def test_a_hole_in_the_ocean_is_its_climatology_and_counted():
    p = problem(changed(S, (50, slice(0, 3)), np.nan)); at = int(np.flatnonzero(p.months==np.datetime64('1954-03'))[0])
    assert (p.config['filled']==33 and (p.fields[at,0,:3]==0).all() and (p.fields[at,0,3:]!=0).all()
            and problem(S).config['filled']==0)

# ---- boxes and other options

@pytest.mark.parametrize('box,text',
                         [('20N,20S,170W,80W', 'south to north'),
                          ('20S,20N,80W,170W', 'does not cover the box|no longitude between -75 and 185'),
                          ('20S,60N,170W,80W', 'no latitude between 25 and 60|smaller box'),
                          ('20S,20N,170W,80E', 'no longitude between -75 and 80'),
    ('170W,80W,20S,20N', '--box takes'), ('1S,1N,170W,80W', 'no cell has its centre|the grid runs from -25 to 25'),
    ('10S,10N,50W,50W', 'at most once round'), ('nan,20N,170W,80W', '--box takes south, north, west and east'),
    ('20S,20N,170W', "'20S,20N,170W'"), ('S,N,W,E', '--box takes'), ('20 S;20N', '--box takes')])
def test_boxes(box, text, climate, tmp_path): told(climate('--box', box), text, tmp_path/'out')

def test_a_box_across_the_date_line():
    lon = np.arange(125., 355, 10); wide = field(lon=lon)
    turned = wide.assign_coords(lon=(lon+180)%360-180).sortby('lon')
    same = problem(wide[:,1:5,3:12]).design.u
    for west,east in (150,-120),(150,240),(-210,-120): # three ways to say 150E to 120W
        for f in wide,turned:
            p = problem(f, box=((-20,20),(west,east)))
            np.testing.assert_array_equal(p.fields.lon, np.arange(155., 240, 10))
            np.testing.assert_array_equal(p.design.u, same)

@pytest.mark.parametrize('more,text', [('--leads 0', 'leads must be a whole number of months|got 0'),
                                       ('--leads 400', '400 months of ocean before it'),
                                       ('--window 0', 'window must be|got 0'),
                                       ('--window -1', 'window must be|got -1'),
                                       ('--window 300', 'no target month'),
                                       ('--detrend quadratic', "detrend must be|'quadratic'"),
    ('--start-months 13', 'calendar months 1..12|13'), ('--start-months 11,,12', '--start-months takes|11,,12'),
    ('--seed -1', 'seed must be a whole number, 0 or more|-1'), ('--by county', "by must be|'county'"),
    ('--by feature', "by='feature' is for gridded rain"), ('--schedule 4,8', '--schedule takes shapes|4,8'),
    ('--region Midwest', "'Midwest'|use midwest, all|AZ, NM"), ('--region AZ,XX', "'XX'"),
    ('--region 9999', "'9999'"), ('--region 30,40,-110,-100', 'no map to lay a box|gridded rain'),
    ('--region x.geojson', 'no map to lay a box or an outline on'), ('--out file', 'file is a file: name a folder')])
def test_options(more, text, climate, tmp_path, monkeypatch):
    (tmp_path/'file').write_text('x'); monkeypatch.chdir(tmp_path)
    told(climate(*more.split()), text, tmp_path/'out')

@pytest.mark.parametrize('name,kw,error', [('box', dict(box=((20,-20),(0,90))), ConfigError),
                                           ('box nan', dict(box=((np.nan,20),(0,90))), ConfigError),
                                           ('start', dict(start_months=[]), ConfigError),
                                           ('names', dict(start_months=['Nov']), ConfigError),
                                           ('fractions', dict(fractions=(.5,.5)), ConfigError),
                                           ('block', dict(block=1000), DataError),
                                           ('onto', dict(onto='x'), ConfigError),
                                           ('window', dict(window=1.5), ConfigError),
                                           ('leads', dict(leads=1.5), ConfigError),
                                           ('by', dict(by='county'), ConfigError)])
def test_arguments(name, kw, error):
    with pytest.raises(error): climate_problem([S], R, **dict(dict(region='AZ', leads=2), **kw))

# ---- rain by division

RAINS = dict(no_file=(None, 'there is no file|rain.nc'), empty_file=(b'', 'cannot be read as netCDF'),
             page=(b'<html>404</html>', 'cannot be read as netCDF|fetch it again'),
             ocean_for_rain=(S, "sst has the unit 'degC', which is none of rain"),
             temperature=(R.assign_attrs(units='degF'), "precip has the unit 'degF', which is none of rain"),
    twice=((R, R), 'no variable over time, latitude and longitude'),
    month_missing=(without(R, 100), 'the rainfall must have every month|1958-05 is missing'),
    month_twice=(R.isel(time=[*range(N), 5]), f'1 {TWICE}|1950-06'),
    daily=(stamped(R[:,:150], pd.date_range('1950-01-01', periods=150)), f'145 {TWICE}'),
    later=(table(start='2000-01'), 'the target from 2000-01'),
    too_little=(table(start='1966-01'), 'leave no row for valid, test|more times'),
    fill=(changed(R, (0,5), -9.99), '1 values that are no rain, like -9.99|_FillValue'),
    infinite=(changed(R, (0,5), np.inf), '1 infinite values'), no_values=(R*np.nan, 'no target month'),
    no_division_of_that_state=(R[2:], "no division belongs to 'AZ'|NM"))

@pytest.mark.parametrize('case', RAINS)
def test_rains(case, climate, tmp_path): told(climate(rain=RAINS[case][0]), RAINS[case][1], tmp_path/'out')

def test_swapped(climate, tmp_path):
    told(climate(ocean=R, rain=S), "no variable over time, latitude and longitude|precip", tmp_path/'out')
    told(climate('--region', BOX, rain=S), 'none of rain', tmp_path/'out')

def test_a_division_without_a_value():
    bad = changed(R, 0, np.nan); np.testing.assert_array_equal(rain_target(bad, 'AZ'), R[1])

def test_a_division_without_a_value_as_an_output(climate):
    told(climate('--by', 'division', rain=changed(R, 0, np.nan)), 'output 0 has no observed value|leave it out')

LINES = [f'{d}01{y}'+''.join(f'{v:7.2f}' for v in R.values[i,12*k:12*k+12]) for i,d in enumerate(R.division.values)
         for k,y in enumerate(range(1950, 1968))]

@pytest.mark.parametrize('text,says',
                         [('\n'.join(LINES)[:1010], 'line 11 of rain.txt is no nClimDiv record|fetch '
                           'the file again'), ('\n'.join(LINES).replace('020101', '020128'),
                                              'element 28, not 01, precipitation|climdiv-pcpndv'),
                          ('\n'.join(LINES+LINES[3:4]), 'gives 1953 of division 0201 again'),
    ('\n'.join(l for l in LINES if '011955' not in l[:10]), '1955-01 is missing'),
    ('\n'.join(LINES).replace(LINES[3][10:17], '  -1.00'), '-1 inches of rain: missing is -9.99')])
def test_climdiv_text(text, says, climate, tmp_path):
    (tmp_path/'rain.txt').write_text(text)
    told(climate('--rain', tmp_path/'rain.txt'), says, tmp_path/'out')

# ---- rain on a grid, regions

BOX = '32,36,-112,-108'
GRIDS = dict(no_unit=(grid(units=''), 'ppt has no unit|set attrs'),
             temperature=(grid(units='K'), "the unit 'K', which is none of rain"),
             fill=(changed(G, (3,3,5), -99.), '1 values that are no rain, like -99 in 1950-04'),
             infinite=(changed(G, (3,3,5), np.inf), '1 values that are no rain, like inf'),
             no_values=(G*np.nan, 'no cell with data lies in the region'),
    month_missing=(without(G, 100), '1958-05 is missing'), uneven=(G.isel(lat=[0,1,3,4,5]), 'equally spaced'),
    elsewhere=(G.assign_coords(lat=G.lat-20), 'no cell lies in the region|the grid covers latitudes 11.5..16.5'),
    half=(G[:,:4], '25% of the region|lies outside the grid|larger grid'),
    two_units=((G[:100], G[100:].assign_attrs(units='inch')), 'the unit mm in|inch in|convert'),
    two_variables=(xr.Dataset(dict(a=G, b=G)), 'which variable is the rain|a, b'))

@pytest.mark.parametrize('case', GRIDS)
def test_grids(case, climate, tmp_path):
    told(climate('--region', BOX, rain=GRIDS[case][0]), GRIDS[case][1], tmp_path/'out')

@pytest.mark.parametrize('region,text',
                         [('36,32,-112,-108', 'south below north'), ('32,36,-108,-112', '98% of the region'),
                          ('HI', "no cell lies in the region 'HI'"), ('10,20,10,20', 'no cell lies in the region'),
                          ('nan,36,-112,-108', 'south below north'), ('32,36,-112', "no region '32'"),
                          ('Arizona', "no region 'Arizona': use midwest, all, states by postal code"),
                          ('x.kml', "no region 'x.kml'"), ('gone.geojson', "there is no file 'gone.geojson'")])
def test_regions(region, text, climate, tmp_path): told(climate('--region', region, rain=G), text, tmp_path/'out')

@pytest.mark.parametrize('more,text', [(('--by', 'division'), "by='division' is for rain by climate division"),
                                       (('--by', 'state'), "by='state' needs states by postal code"),
                                       (('--by', 'feature'), "by='feature' needs a GeoJSON file")])
def test_outputs_of_a_grid(more, text, climate, tmp_path):
    told(climate('--region', BOX, *more, rain=G), text, tmp_path/'out')

RING = [[-112,32],[-108,32],[-108,36],[-112,36],[-112,32]]
def feature(c, kind='Polygon'): return dict(type='Feature', geometry=dict(type=kind, coordinates=c))

@pytest.mark.parametrize('tree,text',
                         [('', 'cannot be read as GeoJSON'), ('{"type": "Feat', 'cannot be read as GeoJSON'),
                          ('[]', 'is no GeoJSON'), (dict(type='FeatureCollection', features=[]),
        'holds no feature'), (dict(type='FeatureCollection', features=None), 'is a FeatureCollection'),
                          (dict(type='FeatureCollection', features=[3]), 'feature 1|is no object'),
    (feature([1,2], 'Point'), 'is a Point|only Polygon and MultiPolygon'),
    (dict(type='Feature', geometry=None), 'feature without geometry'), (feature(None), 'no list of rings'),
    (feature({}), 'no list of rings'), (feature([]), 'no list of rings'),
    (feature([None]), 'three corners or more|None'), (feature(RING), 'three corners or more|[-112, 32]'),
    (feature([RING[:2]]), 'three corners or more'),
    (feature([[['a','b'],['c','d'],['e','f']]]), 'three corners or more'),
    (feature([[p[::-1] for p in RING]]), 'leaves the globe|latitudes from -112'),
    (feature([[[x*1e5,y*1e5] for x,y in RING]]), 'leaves the globe'),
    (feature([[[-112,float('nan')],*RING[1:]]]), 'leaves the globe'),
    (feature([[[-112,32],[-110,32],[-108,32]]]), 'the region has no area')])
def test_geojson(tree, text, climate, tmp_path):
    f = tmp_path/'r.geojson'
    f.write_text(tree if isinstance(tree, str) else json.dumps(tree))
    told(climate('--region', f, rain=G), text, tmp_path/'out')

def test_geojson_of_other_bytes(climate, tmp_path):
    for encoding in 'utf-16','utf-8-sig':
        (tmp_path/'r.geojson').write_bytes(json.dumps(feature([RING])).encode(encoding))
        told(climate('--region', tmp_path/'r.geojson', rain=G), 'r.geojson|cannot be read as GeoJSON', tmp_path/'out')
    assert list(geojson_regions(feature([RING]))) == ['feature 1']

# ---- PRISM

@pytest.fixture(scope='module')
def prism(tmp_path_factory):
    "Two years of zips, the first in the old layout, the second in the new one."
    pytest.importorskip('rasterio'); d = tmp_path_factory.mktemp('prism')
    return d,write_prism(G[:12], d, 'bil'),write_prism(G[12:24], d, 'cog')

def repacked(path, change):
    with zipfile.ZipFile(path) as z: items = [(n, z.read(n)) for n in z.namelist()]
    with zipfile.ZipFile(path, 'w') as z:
        for n,b in items:
            if new := change(n, b): z.writestr(*new)

def test_prism_of_two_layouts_with_strangers_and_other_names(prism, tmp_path):
    shutil.copytree(prism[0], d := tmp_path/'prism')
    (d/'.DS_Store').write_bytes(b'x'); (d/'README').write_text('x')
    (d/('._'+prism[2][0].name)).write_bytes(b'x')
    # the member says the month
    (d/prism[2][3].name).rename(d/'PRISM_any_name.zip'); (d/prism[2][4].name).rename(d/'prism_ppt_us_25m_209901.zip')
    np.testing.assert_allclose(rain_target(d, BOX), rain_target(G[:24], BOX), rtol=1e-6)

PRISMS = dict(
    missing=(lambda z: z.unlink(), '1951-05 is missing'), cut=(lambda z: z.write_bytes(z.read_bytes()[:400]),
        'prism_ppt_us_25m_195105.zip|cannot be read as a zip|fetch it again'),
    empty=(lambda z: z.write_bytes(b''), 'cannot be read as a zip'),
    damaged=(lambda z: z.write_bytes(z.read_bytes()[:200]+bytes(30)+z.read_bytes()[230:]),
             "prism_ppt_us_25m_195105.tif' in|is damaged|fetch it again"),
    month_13=(lambda z: repacked(z, lambda n,b: (n.replace('195105', '195113'), b)), 'no month 13'),
    other_month=(lambda z: repacked(z, lambda n,b: (n.replace('195105', '195104'), b)),
                 'PRISM has 1951-04 twice|195105.zip'),
    lowest_temperature=(lambda z: repacked(z, lambda n,b: (n.replace('ppt', 'tmin'), b)), '1951-05 is missing'),
    daily=(lambda z: repacked(z, lambda n,b: (n.replace('195105', '19510501'), b)), '1951-05 is missing'),
    other_grid=(lambda z: (z.unlink(), write_prism(grid(1, step=.5, start='1951-05'), z.parent, 'bil')),
                '12x24 cells|on another grid than the first month'),
    both_layouts=(lambda z: write_prism(G[16:17], z.parent, 'bil'), 'PRISM has 1951-05 twice'),
    negative=(lambda z: (z.unlink(), repacked(write_prism(G[16:17], z.parent, 'bil')[0],
                                              lambda n,b: (n, (np.frombuffer(b, '<f4')*0-5).tobytes()
        if n.endswith('.bil') else b))), 'no rain, like -5'),
    no_header=(lambda z: (z.unlink(), repacked(write_prism(G[16:17], z.parent, 'bil')[0],
                                               lambda n,b: None if n.endswith('.hdr') else (n, b))),
               'has no PRISM_ppt_stable_4kmM2_195105_bil.hdr'),
    short_header=(lambda z: (z.unlink(), repacked(write_prism(G[16:17], z.parent, 'bil')[0],
        lambda n,b: (n, b.replace(b'NROWS', b'NROWZ')))), 'is no header of a .bil|NROWS'))

@pytest.mark.parametrize('case', PRISMS)
def test_prism(case, prism, climate, tmp_path):
    shutil.copytree(prism[0], d := tmp_path/'prism'); PRISMS[case][0](d/'prism_ppt_us_25m_195105.zip')
    told(climate('--region', BOX, '--rain', d), PRISMS[case][1], tmp_path/'out')

def test_prism_as_ocean_and_a_single_month(prism, climate, tmp_path):
    told(climate('--ocean', prism[2][0]), 'holds no netCDF file but prism_ppt_us_25m_195101.tif', tmp_path/'out')
    told(climate('--region', BOX, '--rain', prism[2][0]), 'leave no row for valid, test', tmp_path/'out')

# ---- a finished run, and what is asked of it

B = field('slp', 'Pa', seed=5)

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    d = tmp_path_factory.mktemp('run'); to_nc(S, d/'sst.nc'); to_nc(B, d/'slp.nc'); to_nc(R, d/'rain.nc')
    with pytest.MonkeyPatch.context() as m:
        m.setattr('mrtl.climate.model.report_run', lambda run, figures: None) # no pictures
        assert main(['climate', '--ocean', str(d/'sst.nc'), str(d/'slp.nc'), '--rain', str(d/'rain.nc'), '--region',
                     'AZ', '--leads', '2', '--rank', '1', '--schedule', '3x6,6x11', '--out', str(d/'run')]) == 0
    return d/'run'

@pytest.fixture
def predict(run, put, tmp_path, capsys):
    "Run `mrtl predict` on fields: exit code, error, and the table."
    def go(*fields, more=(), run=run):
        out = tmp_path/'new'/'p.csv'
        code = main(['predict', str(run), '--out', str(out), '--ocean', *put(fields, 'f.nc'), *map(str, more)])
        return code,capsys.readouterr().err,(pd.read_csv(out) if out.exists() else None)
    return go

def test_predict_refuses(predict, run, tmp_path):
    gone = lambda v: f'variable must be that of the training data, 2 from sst to slp; got {v}'
    for fields,text in [((S,), gone('1 from sst to sst')), ((B, S), gone('2 from slp to sst')),
                        ((S.rename('skin'), B), gone('2 from skin to slp')),
                        ((S[:1], B[:1]), '2 months of ocean before it'), ((without(S, 9), B), '1950-10 is missing'),
                        ((field(lon=LON+180), B), 'sst has no value at all'),
                        ((S[:,1:], B), '11 cells have training data but no value|do not cover'),
                        ((changed(S, (slice(None),3,3), np.nan), B), '1 cells have training data but no value'),
                        ((changed(S, (9,3,3), -999.), B), 'fill value'),
                        ((S[:100], S[100:].assign_attrs(units='K'), B), 'convert one')]:
        code,err,new = predict(*fields); told((code, err), text); assert new is None
    told(predict(S, B, more=('--rain', to_nc(R[2:], tmp_path/'nm.nc')))[:2], "no division belongs to 'AZ'")
    told(predict(S, B, more=('--rain', tmp_path/'gone.nc'))[:2], 'there is no file')
    told(predict(S, B, run=tmp_path/'norun')[:2], 'cannot read|is this the folder of a finished run?')

def test_predict_takes(predict, run, tmp_path):
    old = pd.read_csv(run/'predictions.csv').set_index('sample').prediction
    whole = predict(xr.Dataset(dict(sst=S, slp=B)))[2]; assert len(whole)==N-1 and np.isfinite(whole.prediction).all()
    both = whole.set_index('sample').prediction
    fine = [f.isel(lat=np.repeat(range(6), 2), lon=np.repeat(range(11), 2)).assign_coords(lat=np.arange(-27.5, 30,
            5), lon=np.arange(-177.5, -70, 5)) for f in (S, B)]
    # one file or two
    np.testing.assert_allclose(predict(S, B)[2].prediction, whole.prediction, atol=1e-5)
    # the model before it learned from all rows
    shutil.copytree(run, tmp_path/'run'); (tmp_path/'run'/'scored.mrtl').replace(tmp_path/'run'/'model.mrtl')
    np.testing.assert_allclose(predict(S, B, run=tmp_path/'run')[2].set_index('sample').prediction[old.index], old,
                               atol=1e-5)
    # cells of half the size, averaged
    np.testing.assert_allclose(predict(*fine)[2].prediction, whole.prediction, atol=1e-3)
    # a later period, from the common months
    np.testing.assert_allclose(predict(S[100:], B[90:])[2].set_index('sample').prediction, both['1958-07':], atol=1e-5)
    short = predict(S[:2], B[:2])[2]
    assert short['sample'].tolist()==['1950-03'] and abs(short.prediction[0]-both['1950-03'])<1e-5

@pytest.mark.parametrize('file', ['config.json', 'prep.mrtl', 'model.mrtl'])
@pytest.mark.parametrize('how', ['gone', 'cut', 'empty'])
def test_predict_from_a_damaged_run(file, how, run, predict, tmp_path):
    shutil.copytree(run, tmp_path/'run'); f = tmp_path/'run'/file; b = f.read_bytes()
    f.unlink() if how=='gone' else f.write_bytes(b[:len(b)//2] if how=='cut' else b'')
    told(predict(S, B, run=tmp_path/'run')[:2], file)

def test_reports_of_no_run(run, tmp_path, capsys):
    for folder in tmp_path,tmp_path/'gone',run.parent/'sst.nc':
        told((main(['report', str(folder)]), capsys.readouterr().err),
             'metrics.json|is this the folder of a finished run?')
    shutil.copytree(run, tmp_path/'run')
    (tmp_path/'run'/'factors.nc').write_bytes(b'x')
    told((main(['report', str(tmp_path/'run')]), capsys.readouterr().err), 'factors.nc cannot be read as netCDF')

def test_folders_of_others_are_left_alone(climate, tmp_path):
    out = tmp_path/'out'; out.mkdir(); (out/'mine.txt').write_text('x')
    for more in (),('--resume',),('--overwrite',):
        told(climate(*more), 'it holds no run of mrtl')
        assert [f.name for f in out.iterdir()]==['mine.txt']
    (out/'config.json').write_text('{'); told(climate(), 'config.json is not JSON or is damaged')

# ---- killed

KILLED = '''
import os, signal, sys, threading
from tqdm import tqdm
import dask.array, netCDF4, torch._dynamo           # once, before forks
import mrtl.bootstrap as bootstrap, mrtl.climate.model as model
from mrtl.cli import main
from mrtl.multiresolution import Run
after_epoch,draw = Run.after_epoch,bootstrap.draw_factors
left = None                                       # epochs to live
def eager(self, trainer):
    global left
    if left is not None: self.last_save = -1e9; left -= 1
    r = after_epoch(self, trainer)
    if left==0: os.kill(os.getpid(), signal.SIGKILL)
    return r
Run.after_epoch = eager                           # a checkpoint every epoch
model.report_run,options = lambda run, figures: None,model.climate_options # no pictures
model.climate_options = lambda n=1: dict(options(n), max_epochs=5)
def fatal(part, n, *a):
    global left
    if n==2: left = 2
    return draw(part, n, *a)
def child(argv, epochs=None, in_draw=False):
    global left
    if not (pid := os.fork()):
        signal.alarm(100); tqdm.set_lock(threading.RLock()); left = epochs
        if in_draw: bootstrap.draw_factors = fatal
        os.dup2(os.open('log', os.O_CREAT|os.O_WRONLY|os.O_APPEND), 2)
        try: code = main(argv)
        finally: sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def climate(data, out, *more): return ['climate', '--ocean', f'{data}/sst.nc', '--rain', f'{data}/rain.nc', '--region', 'AZ', '--leads', '2', '--rank', '1', '--schedule', '6x11', '--out', out, *more]
print([child(climate('a', 'killed'), 7), child(climate('b', 'killed', '--resume')), child(climate('a', 'killed')), child(climate('a', 'killed', '--resume', '--bootstrap', '2'), in_draw=True),
    child(climate('a', 'killed', '--resume', '--bootstrap', '2')), child(climate('a', 'whole', '--bootstrap', '2')), child(climate('b', 'whole', '--bootstrap', '2', '--resume', '--leads', '3'))])
'''

def test_killed_in_training_and_in_a_draw_resumes_to_the_same_bits(python, tmp_path):
    # enough months for Adam, whose state is kept within a level
    for d,seed in ('a', 0),('b', 9):
        (tmp_path/d).mkdir()
        to_nc(field(n=420, seed=seed), tmp_path/d/'sst.nc')
        to_nc(table(420, seed=seed+1), tmp_path/d/'rain.nc')
    codes = python(f'import os; os.chdir({str(tmp_path)!r})\n'+KILLED, OMP_NUM_THREADS='1').splitlines()[-1]
    log = (tmp_path/'log').read_text()
    assert codes=='[-9, 2, 2, -9, 0, 0, 2]', codes+log
    assert ('belongs to a run with other data or settings' in log and 'add --resume to go on with it' in log
            and 'another leads' in log)
    from mrtl.store import load_tensors
    a,b = tmp_path/'killed',tmp_path/'whole'
    files = ['model.mrtl', 'prep.mrtl', *[f'bootstrap/draw_{i:04d}.mrtl' for i in (1,2)]]
    for f in files:
        x,y = load_tensors(a/f)[0],load_tensors(b/f)[0]
        assert x.keys()==y.keys() and all(x[k].equal(y[k]) for k in x), f
    for f in 'factors.nc','bootstrap.nc': assert xr.load_dataset(a/f).identical(xr.load_dataset(b/f)), f
    assert (a/'predictions.csv').read_bytes()==(b/'predictions.csv').read_bytes() and not (a/'checkpoint.mrtl').exists()

def test_other_units_than_the_run_are_refused(run, put, tmp_path, capsys):
    code = main(['predict', str(run), '--out', str(tmp_path/'new'/'p.csv'), '--ocean',
                 *put((S.assign_attrs(units='furlong'), B), 'u.nc')])
    told((code, capsys.readouterr().err), 'units of the run')

# ---- once silently wrong

def test_intervals_belong_to_the_model_beside_them(climate, tmp_path, no_pictures):
    """Other data under the same names draw no intervals around a finished model, and doing a run again takes its
    old intervals away."""
    out = tmp_path/'out'; other = field(seed=7)
    assert climate('--schedule', '6x11', '--bootstrap', '1',
                   ocean=changed(S, 0, 20.))[0]==0 and (out/'bootstrap.nc').exists()
    told(climate('--schedule', '6x11', '--bootstrap', '1', '--resume', ocean=other),
         'was made from other data|--overwrite')
    assert climate('--schedule', '6x11', '--overwrite',
                   ocean=other)[0]==0 and not (out/'bootstrap.nc').exists() and not (out/'bootstrap').exists()
    assert climate('--schedule', '6x11', '--bootstrap', '1', '--resume', ocean=other)[0]==0

@pytest.mark.parametrize('more,text', [(('--rank', '0'), 'rank must be a whole number'),
                                       (('--bootstrap', '-1'), '--bootstrap takes a number of draws'),
                                       (('--smooth', '-1'), 'smooth must be'),
                                       (('--split-seed', '-1'), 'seed of a split')])
def test_a_refused_option_claims_no_folder(climate, tmp_path, more, text): told(climate(*more), text, tmp_path/'out')

@pytest.mark.parametrize('box', ['20W,20E,170N,80S', '-20S,20N,170W,80W', '170W,80W,20S,20N'])
def test_letters_of_a_box_say_which_edge_they_are(climate, tmp_path, box):
    told(climate(f'--box={box}'), '--box takes', tmp_path/'out')

@pytest.mark.parametrize('zarr_format,fill', [(2, {}), (3, dict(fill_value=0.))])
def test_a_missing_chunk_is_not_a_number(tmp_path, zarr_format, fill):
    import zarr
    store = tmp_path/'x.zarr'
    S.to_dataset().chunk(time=24).to_zarr(store, zarr_format=zarr_format, consolidated=False,
                                          encoding=dict(sst=dict(_FillValue=None, **fill)))
    assert open_fields(store)[0].shape == S.shape
    a = zarr.open_array(store/'sst', mode='r')
    chunk = next(f for f in sorted(store.glob('sst/**/*')) if f.is_file() and not f.name.startswith(('.', 'zarr.json')))
    chunk.unlink()
    with pytest.raises(FormatError, match=f'lacks 1 of {a.nchunks} chunks'): open_fields(store)

def test_years_that_the_calendar_cannot_hold(tmp_path):
    to_nc(S.assign_coords(time=('time', np.arange(N)*30., dict(units='days since 0001-01-01', calendar='noleap'))),
          tmp_path/'old.nc')
    with pytest.raises(DataError, match='1678 to 2261'): open_fields(tmp_path/'old.nc')

def test_few_or_constant_months_leave_no_eof(climate, no_pictures):
    assert climate('--schedule', '6x11', '--start-months', '1', '--leads', '1', '--overwrite')[0]==0

def test_a_path_that_cannot_be_written(climate, tmp_path):
    (tmp_path/'file').write_text('x'); told(climate('--out', tmp_path/'file'/'x'), 'check the path')
