"""Faults that people reported of other software, tried on mrtl: each case carries the thread in which it was told
(owner/repository#number), and holds what is right."""
import json, re
import netCDF4, numpy as np, pandas as pd, pytest, xarray as xr
from mrtl.basketball.plays import read_play_by_play
from mrtl.basketball.shots import learning_table
from mrtl.climate.fields import open_fields
from mrtl.climate.rain import rain_target
from mrtl.core import DataError, FormatError, MRTLError, read_json
from mrtl.estimators import MRTLRegressor
from mrtl.grids import Grid
from mrtl.designs import FieldDesign
from mrtl.simulate import simulate_field
from mrtl.training import Callback
from test_file_says import LAT, LON, X, E, D360, NOLEAP, edges, first, numbers, read, right, write
from test_plays import LOST, season, wronged
from test_units import IOWA, write as write_rain

# ---- poles and the seam of the globe: (latitudes, longitudes, share of the sphere that the rows cover)

WHOLE = 1.
POLES = {
    'pangeo-data/xESMF#150: rows at -90 and 90': (np.linspace(-90, 90, 37), np.arange(0, 360, 10), WHOLE),
    'pangeo-data/xESMF#133: arange(-90, 94, 4)': (np.arange(-90., 94, 4), np.arange(0., 360, 5), WHOLE),
    'pangeo-data/xESMF#157: centres half a step from the poles': (np.arange(-89.5, 90), np.arange(.5, 360), WHOLE),
    'JGCRI/RCMIP5#80: north first, a row on each pole': (np.linspace(90, -90, 19), np.arange(0, 360, 20), WHOLE),
    'SciTools/iris-esmf-regrid#378: a band that ends below the pole': (np.arange(45., 86, 10),
        np.arange(0, 360, 10), (1-np.sin(np.deg2rad(40)))/2),
    'google-research/weatherbenchX#198: weights at the poles': (np.linspace(-90, 90, 721)[::8],
        np.arange(0, 360, 10), WHOLE),
    'xCDAT/xcdat#197: cells across the prime meridian': (np.arange(-85., 86, 10), np.arange(0, 360, 1.875), WHOLE),
    'pydata/xarray#577: -180 to 179': (np.arange(-85., 86, 10), np.arange(-180., 180, 5), WHOLE)}

@pytest.mark.parametrize('case', POLES)
def test_areas_of_the_globe(case):
    lat,lon,share = POLES[case]
    edge = np.r_[lat[0]-(lat[1]-lat[0])/2,(lat[1:]+lat[:-1])/2,lat[-1]+(lat[-1]-lat[-2])/2].clip(-90, 90)
    da = xr.DataArray(np.zeros((2,len(lat),len(lon))), dict(time=[0, 1], lat=lat, lon=lon), ('time','lat','lon'))
    grid = FieldDesign.from_xarray(da).grid
    rows = np.abs(np.diff(np.sin(np.deg2rad(edge)))); rows = rows if lat[0]<lat[-1] else rows[::-1]
    np.testing.assert_allclose(grid.share.sum(1), rows/rows.sum(), rtol=1e-6,
                               err_msg='each row has the area between its own edges')
    assert rows.sum()/2 == pytest.approx(share, abs=.04) and bool((grid.share>0).all())

@pytest.mark.parametrize('case,lat,lon,text',
                         [('NCAS-CMS/cf-python#39: rows beyond 90', np.arange(80., 100, 4), LON,
                           'latitude|pole|90'), ('ClimateImpactLab/downscaleCMIP6#283: a buffer beyond the pole',
        np.r_[np.arange(-90, 91, 10.),100], LON, 'latitude|pole|90'),
    ('xCDAT/xcdat#790: 0 and 360 both', LAT, np.arange(0., 361, 30), 'one turn of 360.*twice'),
    ('Potopoles/PGW4ERA5#7: a longitude repeated', LAT, np.r_[LON,LON[-1]], 'lon must ascend')])
def test_cells_that_cannot_be(case, lat, lon, text):
    da = xr.DataArray(np.zeros((2,len(lat),len(lon))), dict(time=[0, 1], lat=lat, lon=lon), ('time','lat','lon'))
    with pytest.raises(DataError, match=text): FieldDesign.from_xarray(da)

# ---- times

def since(units, calendar='standard', time=None, **kw):
    return dict(time=np.arange(24.) if time is None else time, units=units, calendar=calendar, **kw)
TIMES = {
    'pydata/xarray#5939: months since, gregorian': since('months since 2000-01-01', 'gregorian'),
    'xCDAT/xcdat#77: months since': since('months since 2000-01-01'),
    'JuliaGeo/NCDatasets.jl#181: months since, no leap days': since('months since 2000-01-01', 'noleap'),
    'ECMWFCode4Earth/ml_drought#26: CHIRPS': since('months since 2000-01-01 00:00:00', 'gregorian'),
    'Unidata/cftime#68: the calendar 360 of the IRI library': since('months since 2000-01-01',
        '360', np.arange(24.)+.5),
    'spencerahill/aospy#185: NOLEAP, stamps in the middle': dict(time=(NOLEAP[1:]+NOLEAP[:-1])/2,
        bounds=np.c_[NOLEAP[:-1],NOLEAP[1:]], calendar='NOLEAP', bname='time_bounds',
        tattrs=dict(bounds='time_bounds', calendar_type='NOLEAP')),
    'spencerahill/aospy#185: stamps at the ends of their bounds': dict(time=E[1:], bounds=np.c_[E[:-1],E[1:]],
        bname='time_bounds', tattrs=dict(bounds='time_bounds')),
    'DestinE-Climate-DT/AQUA#38: the mean of January at midnight of the 31st': dict(time=E[1:],
        bounds=np.c_[E[:-1],E[1:]], tattrs=dict(bounds='time_bnds')),
    'DestinE-Climate-DT/Climate-DT-catalog#173: at six in the morning': dict(time=E[:-1]+.25),
    'pandas-dev/pandas#41843: midnight of the last day': dict(time=E[1:]-1),
    'pydata/xarray#521: bounds named wrongly': dict(time=E[1:], bounds=np.c_[E[:-1],E[1:]], bname='time_bound',
        tattrs=dict(bounds='time_bounds'), may='lost')}

@pytest.mark.parametrize('case', TIMES)
def test_months_as_they_were_meant(tmp_path, case):
    kw = dict(TIMES[case]); may = kw.pop('may', None)
    try: f = read(write(tmp_path/'a.nc', **kw))
    except DataError as e: assert may and 'bounds' in str(e); return # nothing is guessed
    assert not may and first(f) == '2000-01' and right(f)

@pytest.mark.parametrize('case,kw,text',
                         [('JuliaClimate/ClimateTools.jl#18: a climatology of 30 years',
                           dict(time=E[:12]+15, x=numbers(12), bounds=np.c_[E[:12],E[1:13]+365*29],
                                bname='climatology_bounds', tattrs=dict(climatology='climatology_bounds')),
                           'longer than a month'),
    ('NCAR/CESM_postprocessing#75: January stamped in July', dict(time=E[:-1]+181, bounds=np.c_[E[:-1],E[1:]],
        tattrs=dict(bounds='time_bnds')), 'do not hold the stamp'),
    ('NCAR/esmlab#127: a month that is called a day', dict(time=np.arange(24.)), 'month|day')])
def test_times_that_cannot_be_meant(tmp_path, case, kw, text):
    with pytest.raises(DataError, match=text): read(write(tmp_path/'a.nc', **kw))

# ---- numbers that are none

HOLE = (slice(None),0,slice(0, 3))
def holed(v, x=X): x = np.array(x); x[HOLE] = v; return x
FILL = netCDF4.default_fillvals['f4']
MISSING = {
    'pydata/xarray#1976: fill -999, missing -99': dict(x=np.where(np.arange(12)<2, holed(-999.), holed(-99.)),
        fill=np.float32(-999), attrs=dict(missing_value=np.float32(-99))),
    'pydata/xarray#1602: -999.99 and its neighbour': dict(x=holed(-999.99), fill=np.float32(-999.99),
        attrs=dict(missing_value=-999.989990234)),
    'Unidata/netcdf4-python#748: negative data, fill 0': dict(x=holed(0., -np.abs(X)-1), fill=np.float32(0)),
    'Unidata/netcdf4-python#576: a valid_max': dict(x=holed(1e5), attrs=dict(valid_max=np.float32(60))),
    'tsdat/tsdat#225: -9999': dict(x=holed(-9999.), fill=np.float32(-9999)),
    'ORAC-CC/orac#66: -999 is a packed value': dict(dtype='i2', fill=np.int16(-32767),
        x=holed(-32767, np.where(np.arange(12)==5, -999, np.round(X*100))), attrs=dict(scale_factor=.01))}

@pytest.mark.parametrize('case', MISSING)
def test_what_is_missing(tmp_path, case):
    f = read(write(tmp_path/'a.nc', time=E[:-1]+15, **MISSING[case]))
    assert f[HOLE].isnull().all() and int(f.isnull().sum()) == 72 and float(np.abs(f).max())<200

@pytest.mark.parametrize('case,x,fill,lo',
                         [('Unidata/netcdf4-python#784: numbers above the fill value 5', np.round(X), 5, 10),
                          ('Unidata/netcdf4-python#840: numbers above a fill value', X+1e6, 999999, 1e6)])
def test_only_the_fill_value_is_missing(tmp_path, case, x, fill, lo):
    x = np.array(x); x[HOLE] = fill; f = read(write(tmp_path/'a.nc', x, time=E[:-1]+15, fill=np.float32(fill)))
    assert int(f.isnull().sum()) == int((x.astype('f4') == np.float32(fill)).sum()) and float(f.max())>lo

@pytest.mark.parametrize('case,x',
                         [('PCMDI/input4MIPs_CVs#373: 9.96921e36 in one place',
                           np.where(np.arange(X.size).reshape(X.shape)==X.size-1, 9.96921e36, X)),
                          ('NCAR/wrf_hydro_nwm_public#531: -999900032 after scaling', holed(-999900032.)),
    ('pydata/xarray#2742: the default fill value, undeclared', holed(FILL)),
    ('NOAA-ORR-ERD/PyGnome#187: nothing was written there', holed(9.96921e36))])
def test_what_nobody_declared(tmp_path, case, x):
    "Declared or not, such a number never enters a mean."
    try: f = read(write(tmp_path/'a.nc', x, time=E[:-1]+15, dtype='f4'))
    except DataError as e: assert re.search(r'9\.96|-9\.99|-999900', str(e)) and 'missing' in str(e); return
    assert f.isnull().any() and float(np.abs(f).max())<200

# ---- units and layouts of rain: (unit, number everywhere, millimetres in February 2001 or a word of the error)

RAIN = {
    'pacificclimate/climdex.pcic.ncdf#12: kg m-2 d-1': ('kg m-2 d-1', 3., 84.),
    'pism/pism#507: mm day-1': ('mm day-1', 3., 84.),
    'pism/pism#507: kg m-2 second-1': ('kg m-2 second-1', 3/86400, 84.),
    'monocongo/climate_indices#531: kg m-2 s-1': ('kg m-2 s-1', 3/86400, 84.),
    'home-assistant/core#79780: in/d': ('in/d', .1, .1*25.4*28),
    'aemon-j/LakeEnsemblR#181: mm/h': ('mm/h', .1, .1*24*28),
    'PCMDI/obs4MIPs-cmor-tables#340: mm in three hours': ('mm/3hr', .4, 'mm/3hr'),
    'metno/bris-inference#60: kg m-2 that are metres': ('kg m-2', .08, 'hardly'),
    'Ouranosinc/miranda#10: mmday': ('mmday', 3., 'mmday'),
    'earthobservations/wetterdienst#891: m3/m2': ('m3/m2', .084, .084)}

@pytest.mark.parametrize('case', RAIN)
def test_units_of_rain(tmp_path, case):
    unit,v,want = RAIN[case]; f = write_rain(tmp_path/'r.nc', v, 'pr', unit)
    if isinstance(want, str):
        with pytest.raises(DataError, match=want): rain_target(f, IOWA)
    else: assert float(rain_target(f, IOWA).sel(time='2001-02').item()) == pytest.approx(want, rel=1e-5)

def versions(both=0):
    "Rain of ERA5 with the preliminary months beside the final ones."
    x = np.full((24,2,5,12), np.nan); x[:20,0],x[20:,1] = numbers()[:20],numbers()[20:]
    if both: x[20-both:20,1] = numbers()[20-both:20]
    return x

ERA5 = {
    'monocongo/climate_indices#543: time, expver, latitude, longitude': dict(x=versions(),
        dims=('time','expver','lat','lon'), names=dict(lat='latitude', lon='longitude')),
    'ec-jrc/cbm#41: expver with numbers': dict(x=versions(), dims=('time','expver','lat','lon'),
                                               more=lambda d: d.createVariable('expver', 'i4',
        ('expver',)).__setitem__(slice(None), [1, 5])),
    'linjonathan/tropical_cyclone_risk#2: valid_time': dict(names=dict(time='valid_time')),
    'E3SM-Project/HICCUP#49: text beside the numbers': dict(names=dict(time='valid_time'),
        more=lambda d: d.createVariable('expver', str, ('valid_time',)).__setitem__(slice(None),
        np.array(['0001']*24, object))),
    'PecanProject/pecan#3806: short integers, times as the only '
    'dimension variable': dict(dtype='i2', x=numbers().round())}

@pytest.mark.parametrize('case', ERA5)
def test_layouts_of_era5(tmp_path, case):
    f = read(write(tmp_path/'a.nc', **ERA5[case]))
    assert first(f) == '2000-01' and (f.time.dt.month.values == np.floor(f.values[:,0,0]+.01)).all()

@pytest.mark.parametrize('both', [1, 3], ids=['google-research/arco-era5#56: both say something',
                                              'PyPSA/atlite#190: the sum would be twice as much'])
def test_versions_that_overlap_are_refused(tmp_path, both):
    with pytest.raises(DataError, match='expver'):
        read(write(tmp_path/'a.nc', versions(both), dims=('time','expver','lat','lon')))

# ---- names, orders, dates

SIM = simulate_field(60, (4, 8), leads=1, variables=3, rank=1, seed=0)
TARGET = SIM.y[-60:]
FIELDS = SIM.X.rename(None)[-61:-1].assign_coords(time=TARGET.time.values) # the fields of the time before

@pytest.fixture(scope='module')
def model(): return MRTLRegressor(rank=1, method='evidence').fit(FIELDS, TARGET.values)

SAME = {'dmlc/xgboost#8357: columns turned round': lambda x: x.isel(variable=[2, 1, 0]),
        'lightgbm-org/LightGBM#4102: another order': lambda x: x.isel(variable=[1, 2, 0]),
    'scikit-learn/scikit-learn#7242: names decide': lambda x: x.rename('f').to_dataset('variable')[[str(v)
        for v in x['variable'].values[::-1]]],
    'tidymodels/parsnip#273: one exchanged': lambda x: x.isel(variable=[0, 2, 1])}

@pytest.mark.parametrize('case', SAME)
def test_orders_are_put_right(model, case):
    np.testing.assert_allclose(np.asarray(model.predict(SAME[case](FIELDS))),
                               np.asarray(model.predict(FIELDS)), atol=1e-10)

OTHER = {'csinva/imodels#290: renamed': lambda x: x.assign_coords(variable=['a', 'b', 'c']),
         'dmlc/xgboost#2857: one name of another model': lambda x: x.assign_coords(variable=['field 1','field 2','air']),
    'HealthCatalyst/healthcareai-r#1186: a level more': lambda x: xr.concat([x,
        x.isel(variable=[0]).assign_coords(variable=['extra'])], 'variable'),
    'fractal-napari/feature-classifier#44: one less': lambda x: x.isel(variable=[0, 1])}

@pytest.mark.parametrize('case', OTHER)
def test_other_names_are_refused(model, case):
    with pytest.raises(DataError, match='fitted on'): model.predict(OTHER[case](FIELDS))

DATES = pd.date_range('2000-01-01', periods=60, freq='MS')
DATED = FIELDS.assign_coords(time=DATES)
Y = pd.Series(TARGET.values, DATES)
ALIGNED = {'scikit-learn/scikit-learn#25419: the index turned round': Y[::-1],
           'alanarazi7/TabSTAR#25: shuffled': Y.sample(frac=1, random_state=0),
           'statsmodels/statsmodels#206: more rows than X': pd.concat([Y, Y.set_axis(DATES+pd.DateOffset(years=5))]),
    'pysal/tobler#188: another index name': Y.sample(frac=1, random_state=1).rename_axis('when'),
    'larsiusprime/openavmkit#192: a frame of one column': Y[::-1].to_frame('y')}

@pytest.mark.parametrize('case', ALIGNED)
def test_targets_find_their_rows(model, case):
    m = MRTLRegressor(rank=1, method='evidence').fit(DATED, ALIGNED[case])
    np.testing.assert_allclose(np.asarray(m.coef_).ravel(), np.asarray(model.coef_).ravel(), atol=1e-9)

@pytest.mark.parametrize('case,y',
                         [('kgdunn/process-improve#228: rows of other dates', Y.set_axis(DATES+pd.Timedelta('3D'))),
                          ('JobCollins/fairness_pipeline_dev_toolkit#30: some dates are others',
                           Y.rename({DATES[7]: pd.Timestamp('1990-01-01')})),
                          ('pandas: a date twice', pd.concat([Y, Y[:1]]).sort_index())])
def test_targets_of_other_rows_are_refused(case, y):
    with pytest.raises(DataError, match='same time|more than once'):
        MRTLRegressor(rank=1, method='evidence').fit(DATED, y)

# ---- magnitudes

@pytest.mark.parametrize('case,s', [('scikit-learn/scikit-learn#19726: 1e-15', 1e-15),
                                    ('scikit-learn/scikit-learn#19726: 1e-10', 1e-10),
                                    ('EducationalTestingService/rsmtool#94: a spread of 1e-6', 1e-6),
                                    ('scikit-learn/scikit-learn#19726: 1e5', 1e5), ('pentads of 1e10', 1e10)])
@pytest.mark.parametrize('what', ['one variable', 'all', 'the target'])
def test_magnitudes(model, case, s, what):
    x = FIELDS*(xr.DataArray([s, 1, 1], dims='variable') if what=='one variable' else s if what=='all' else 1)
    k = s if what=='the target' else 1
    m = MRTLRegressor(rank=1, method='evidence').fit(x, TARGET.values*k)
    np.testing.assert_allclose(np.asarray(m.predict(x))/k, np.asarray(model.predict(FIELDS)), rtol=1e-7, atol=1e-7)

@pytest.mark.parametrize('case,v', [('scikit-learn/scikit-learn#17794: 14.62 everywhere', 14.62),
                                    ('ai2cm/fv3net#639: a constant feature', 1e6), ('ai2cm/fv3net#708: zero', 0.)])
@pytest.mark.parametrize('way', ['evidence', 'sgd'])
def test_a_constant_variable_changes_nothing(case, v, way):
    x = FIELDS.copy(); x[:,1] = v
    m = MRTLRegressor(rank=1, method=way, max_epochs=5).fit(x, TARGET.values)
    p = np.asarray(m.predict(x))
    assert np.isfinite(p).all() and np.corrcoef(p, TARGET)[0,1]>.5

# ---- plays

def late(p, i=200, by=60):
    "An event that stands some rows below where it belongs."
    rows = list(p.index); at = rows.pop(i); rows.insert(i+by, at); return p.loc[rows]
def within_seconds(p):
    "Plays of the same second in the opposite order."
    return p.iloc[np.lexsort((-np.arange(len(p)), (p.PCTIMESTRING != p.PCTIMESTRING.shift()).cumsum()))]

PLAYS = {
    'rd11490/NBA_Tutorials#13: an event that was added later': late,
    'rd11490/NBA-Play-By-Play-Example#1: numbers out of order': lambda p: p.assign(EVENTNUM=np.r_[:100,130,101:130,100,131:len(p)].astype(str)), 'a second event that was added later': lambda p: late(late(p), 300, 100),
    'MySportsFeeds/mysportsfeeds-api#12: order within a second': within_seconds,
    'swar/nba_api#430: a score before the first play': lambda p: p.assign(SCORE='5 - 3'),
    'swar/nba_api#356: a column more': lambda p: p.assign(SHOTCLOCK='24')}

@pytest.mark.parametrize('case', PLAYS)
def test_logs_in_disorder_teach_the_same(season, case):
    frames,plays,table = season; got = learning_table(frames, read_play_by_play(PLAYS[case](plays))[0]).table
    # `shot` is the row of a play
    key = ['game','quarter','clock','player']
    plain = lambda t: t.drop(columns='shot').sort_values(key).reset_index(drop=True)
    pd.testing.assert_frame_equal(plain(got), plain(table), check_dtype=False)

GONE = {'agentscope-ai/DojoZero#74: plays without player or team': lambda p: p.assign(PLAYER1_ID=p.PLAYER1_ID.where(np.arange(len(p))%40>0, '')), 'agentscope-ai/DojoZero#75: player 0': lambda p: p.assign(PLAYER1_ID=p.PLAYER1_ID.where(np.arange(len(p))%40>0, '0')),
    'jflancer/bigballR#71: what follows a foul before the '
    'jump ball is lost': lambda p: p[~((p.PERIOD=='1')&(np.arange(len(p))>3))],
    'samshipengs/Coordinated-Multi-Agent-Imitation-Learning#12: clocks some '
    'seconds early': LOST['clocks five seconds early']}

@pytest.mark.parametrize('case', GONE)
def test_plays_that_are_gone_are_no_negatives(season, case):
    n,said = wronged(season, GONE[case])
    assert n == 0 and said

# ---- content

DEEP = {'SlopDotCash/asi#2002: 10,000 objects deep': '{"k":'*10000+'1'+'}'*10000,
        'AGProjects/python-cjson#1: 100,000 brackets': '['*100000,
        'AGProjects/python-cjson#2: mixed': '[{"":'*20000, 'ijl/orjson#458: brackets that close': '['*10**6+']'*10**6,
    'simplejson/simplejson#270: nests of nests': '[[[{"a":'*3000, 'vm0-ai/vm0#31426: 20,000 bytes': '['*10000
    +']'*10000, 'a number of 5,000 digits': '1'*5000, 'RustPython/RustPython#7632': '['*50000+']'*50000}

@pytest.mark.parametrize('case', DEEP)
def test_nested_text(tmp_path, case):
    (tmp_path/'config.json').write_text(DEEP[case])
    with pytest.raises(FormatError): read_json(tmp_path/'config.json')

# ---- files between two states

@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    d = tmp_path_factory.mktemp('c'); kw = dict(rank=1, method='sgd', max_epochs=3, checkpoint=d/'c.mrtl')
    class Halt(Callback):
        n = 0
        def before_fit(self, trainer):
            self.n += 1
            if self.n==3: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): MRTLRegressor(**kw).fit(FIELDS, TARGET.values, callbacks=[Halt()])
    return (d/'c.mrtl').read_bytes()

def test_there_is_a_checkpoint(checkpoint): assert len(checkpoint)>1000
STATES = {'Cibiv/IQ-TREE#90: cut in the middle': lambda b: b[:len(b)//2],
          'majiayu000/harness#647: half of its text': lambda b: b[:100],
          'CanReader/FastNN#13: emptied': lambda b: b'',
          'NodeDB-Lab/nodedb#78: zeros of the right length': lambda b: bytes(len(b)),
    'primesearch/Mlucas#170: the last bytes lost': lambda b: b[:-7], 'BenoitMorel/AleRax#33: the beginning of one, '
    'the end of another': lambda b: b[:200]+b[400:], 'amient/affinity#103: written twice': lambda b: b+b,
    'revbayes/revbayes#930: text instead': lambda b: b'<html>503</html>'}

@pytest.mark.parametrize('case', STATES)
def test_checkpoints_that_are_not_whole(tmp_path, checkpoint, case):
    (tmp_path/'c.mrtl').write_bytes(STATES[case](checkpoint))
    with pytest.raises(MRTLError, match='c.mrtl'):
        MRTLRegressor(rank=1, method='sgd', max_epochs=3, checkpoint=tmp_path/'c.mrtl').fit(FIELDS, TARGET.values)

def test_what_lies_beside_a_checkpoint_is_not_read(tmp_path):
    "multikernel/daxfs#28: the temporary file is there, the checkpoint is not: the fit begins anew."
    (tmp_path/'.mrtl-0123-c.mrtl').write_bytes(b'half'); kw = dict(rank=1, method='sgd', max_epochs=3)
    a = MRTLRegressor(**kw, checkpoint=tmp_path/'c.mrtl').fit(FIELDS, TARGET.values)
    b = MRTLRegressor(**kw).fit(FIELDS, TARGET.values)
    np.testing.assert_array_equal(np.asarray(a.coef_), np.asarray(b.coef_))
