"""Grids of cases for `mrtl.climate.prism`: round trips through both layouts, rasterio as oracle, windows, and every
file that is not what it should be."""
from pathlib import Path
import re, shutil, zipfile
import dask.array as da, numpy as np, pytest, xarray as xr
from mrtl.climate import prism
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.grids import Grid
from mrtl.climate.prism import open_prism, prism_grid, prism_months, raster_name, read_hdr, write_prism

def make(start='1990-01', n=3, h=20, w=30, seed=0, lat0=40., lon0=-100.):
    time = (np.datetime64(start, 'M')+np.arange(n)).astype('datetime64[ns]')
    v = np.random.default_rng(seed).gamma(2, 30, (n, h, w)).astype('float32')
    v[:, :4, :5] = np.nan; v[0, 10, 10] = 0
    return xr.DataArray(v, dict(time=time, lat=lat0+np.arange(h)/24, lon=lon0+np.arange(w)/24),
                        ('time', 'lat', 'lon'), 'ppt', dict(units='mm'))

def same(got, want):
    np.testing.assert_array_equal(got.values, want.values); assert (got.time.values == want.time.values).all()
    np.testing.assert_allclose(got.lat, want.lat, atol=1e-6); np.testing.assert_allclose(got.lon, want.lon, atol=1e-6)

def unpack(zips, folder):
    for f in zips:
        with zipfile.ZipFile(f) as z: z.extractall(folder)
    return folder

def repack(path, change, to=None):
    "The same zip with members renamed or changed: change(name, data) gives both, or None to leave one out."
    with zipfile.ZipFile(path) as z: members = [(n, z.read(n)) for n in z.namelist()]
    to = to or path
    with zipfile.ZipFile(to, 'w') as z:
        for n,d in members:
            if new := change(n, d): z.writestr(*new)
    return to

# ---- round trips

@pytest.mark.parametrize('layout', ['bil', 'cog'])
@pytest.mark.parametrize('start,n', [('1895-01', 1), ('1979-11', 16), ('1980-01', 12), ('1980-02', 12),
                                     ('1990-01', 3), ('2015-12', 2)])
def test_round_trip(tmp_path, layout, start, n):
    rain = make(start, n); files = write_prism(rain, tmp_path, layout); got = open_prism(tmp_path)
    same(got, rain); same(open_prism(files[::-1]), rain)
    assert got.chunks[0] == (1,)*n and got.dtype == 'float32' and got.units == 'mm' and got.dims == ('time', 'lat',
            'lon') and 'PRISM' in got.source
    assert not list(tmp_path.glob('.*')) and sorted(tmp_path.iterdir()) == sorted(files)

def test_names_and_members(tmp_path):
    old = write_prism(make('1979-12', 15), tmp_path/'bil'); new = write_prism(make('1979-12', 2), tmp_path/'cog', 'cog')
    assert [f.name for f in old] == ['PRISM_ppt_stable_4kmM2_197912_bil.zip',
                                     'PRISM_ppt_stable_4kmM2_1980_all_bil.zip',
                                     'PRISM_ppt_stable_4kmM3_198101_bil.zip', 'PRISM_ppt_stable_4kmM3_198102_bil.zip']
    assert [f.name for f in new] == ['prism_ppt_us_25m_197912.zip', 'prism_ppt_us_25m_198001.zip']
    def ends(f, stem): return sorted(n[len(stem):] for n in zipfile.ZipFile(f).namelist() if n.startswith(stem))
    assert ends(old[2], 'PRISM_ppt_stable_4kmM3_198101_bil') == ['.bil', '.bil.aux.xml', '.csv', '.hdr',
            '.info.txt', '.prj', '.stx', '.xml']
    assert ends(new[0], 'prism_ppt_us_25m_197912') == ['.info.txt', '.prj', '.stx', '.tif', '.tif.aux.xml']
    bils = [n for n in zipfile.ZipFile(old[1]).namelist() if n.endswith('.bil')]
    assert bils == [f'PRISM_ppt_stable_4kmM2_1980{m}_bil.bil' for m in [f'{i:02d}' for i in range(1, 13)]+['']]
    assert 'simulated' in zipfile.ZipFile(new[0]).read('prism_ppt_us_25m_197912.info.txt').decode()

def test_header_is_the_archives(tmp_path):
    f, = write_prism(xr.DataArray(np.ones((1, 3, 3)), dict(time=np.array(['2000-01'], 'M8[ns]'), lat=[30., 35, 40],
            lon=[-110., -105, -100]), ('time', 'lat', 'lon')), tmp_path, grid=prism_grid())
    text = zipfile.ZipFile(f).read('PRISM_ppt_stable_4kmM3_200001_bil.hdr').decode()
    h = dict(line.split() for line in text.splitlines())
    assert ({k: h[k] for k in 'BYTEORDER LAYOUT NROWS NCOLS NBANDS NBITS PIXELTYPE NODATA'.split()}
            == dict(BYTEORDER='I', LAYOUT='BIL', NROWS='621', NCOLS='1405', NBANDS='1', NBITS='32',
                    PIXELTYPE='FLOAT', NODATA='-9999'))
    for k,v in dict(ULXMAP=-125, ULYMAP=49.9166666, XDIM=.04166666667, YDIM=.04166666667).items():
        assert float(h[k]) == pytest.approx(v, abs=1e-7)

@pytest.mark.parametrize('layout', ['bil', 'cog'])
def test_rasterio_reads_the_same(tmp_path, layout):
    rio = pytest.importorskip('rasterio'); rain = make('1980-01', 12)
    for f in write_prism(rain, tmp_path/'z', layout):
        for n in zipfile.ZipFile(f).namelist():
            if not n.endswith(('.bil', '.tif')): continue
            with rio.open(f'/vsizip/{f}/{n}') as r:
                date = raster_name(n)[1]; x = r.read(1, masked=True).filled(np.nan)[::-1]
                want = rain[int(date[4:])-1].values if len(date) == 6 else rain.values.sum(0, dtype='float32')
                np.testing.assert_allclose(x, want, rtol=0 if len(date) == 6 else 1e-6)
                assert r.nodata == -9999 and r.dtypes == ('float32',)
                assert r.xy(0, 0) == pytest.approx((rain.lon.values[0], rain.lat.values[-1]),
                                                   abs=1e-6) and '1983' in str(r.crs.to_wkt())
                if layout == 'cog':
                    assert r.crs.to_epsg() == 4269 and r.profile['tiled'] and r.profile['compress'] == 'deflate'

@pytest.mark.parametrize('layout', ['bil', 'cog'])
def test_bare_files_and_mixed_sources(tmp_path, layout):
    rain = make('1980-11', 4); zips = write_prism(rain, tmp_path/'z', layout); bare = unpack(zips, tmp_path/'bare')
    same(open_prism(bare), rain)
    same(open_prism([zips[0], *sorted(p for p in bare.iterdir() if p.suffix in ('.bil', '.tif'))[1:]]), rain)
    sub = tmp_path/'deep'/'er'; sub.mkdir(parents=True)
    shutil.copy(zips[2], sub/zips[2].name)
    same(open_prism(tmp_path/'deep'), rain[2:3])

def test_a_zip_of_any_name_and_provisional_months(tmp_path):
    rain = make('1990-01', 2); a,b = write_prism(rain, tmp_path)
    b = repack(b, lambda n, d: (n.replace('stable', 'provisional'), d),
               tmp_path/'PRISM_ppt_provisional_4kmM3_199002_bil.zip')
    bulk = tmp_path/'download.zip'
    with zipfile.ZipFile(bulk, 'w') as z:
        for f in a,b:
            for n in zipfile.ZipFile(f).namelist(): z.writestr('folder/'+n, zipfile.ZipFile(f).read(n))
    same(open_prism(bulk), rain)

@pytest.mark.parametrize('order,kind', [('I', '<f4'), ('M', '>f4')])
@pytest.mark.parametrize('nodata', ['NODATA         -9999', 'NODATA 7777', ''])
def test_bytes_and_fill_values(tmp_path, order, kind, nodata):
    rain = make(n=1); f, = write_prism(rain, tmp_path)
    def change(n, d):
        if n.endswith('.hdr'):
            d = d.decode().replace('BYTEORDER      I', f'BYTEORDER {order}').replace('NODATA         -9999', nodata)
        if n.endswith('.bil'):
            x = np.frombuffer(d, '<f4').copy()
            x[x == -9999] = 7777 if '7777' in nodata else -9999
            d = x.astype(kind).tobytes()
        return n,d
    repack(f, change); same(open_prism(f), rain)

@pytest.mark.parametrize('layout', ['bil', 'cog'])
def test_windows(tmp_path, layout, monkeypatch):
    rain = make(n=5); got = open_prism(write_prism(rain, tmp_path, layout)); asked = []
    whole = prism.read_month
    monkeypatch.setattr(prism, 'read_month', lambda path, member, like, rows, cols: asked.append((rows, cols))
                        or whole(path, member, like, rows, cols))
    for pick in (dict(time=slice(1, 3), lat=slice(2, 9), lon=slice(20, 25)),
                 dict(time=2, lat=slice(19, None), lon=7), dict(lat=slice(None, None, -3), lon=[1, 5, 3]),
                 dict(time=[4, 0], lat=[0, 19, 3], lon=slice(0, 0)), dict(time=slice(0, 0))):
        np.testing.assert_array_equal(got.isel(**pick).values, rain.isel(**pick).values)
    assert asked[0] == asked[1] == (slice(2, 9), slice(20, 25)) and asked[2][0] == slice(19, 20) and len(asked) == 8

def test_opening_reads_nothing(tmp_path):
    "Months that cannot be read are no trouble until they are asked for."
    files = write_prism(make(n=4), tmp_path); whole = files[0].read_bytes()
    for f in files:
        f.write_bytes(repack(f, lambda n, d: (n, d[:-4] if n.endswith('.bil') else d)).read_bytes())
    got = open_prism(tmp_path)
    for i in range(4):
        with pytest.raises(FormatError, match=f'19900{i+1}.*has 2396 bytes where its header makes it 2400'):
            got[i].values
    files[0].write_bytes(whole); got[0].values

# ---- writing

@pytest.mark.parametrize('chunks', [(1, 20, 30), (4, 10, 30), (14, 20, 7)])
def test_dask_rain_is_computed_once_and_in_pieces(tmp_path, chunks):
    rain = make('1980-01', 14); calls = []
    def piece(x): calls.append(x.shape); return x
    lazy = rain.copy(data=da.from_array(rain.values, chunks).map_blocks(piece, dtype='float32',
            meta=np.empty((0, 0, 0), 'float32')))
    same(open_prism(write_prism(lazy, tmp_path)), rain); assert len(calls) == np.prod([len(c) for c in lazy.chunks])

def test_order_and_longitudes_do_not_matter(tmp_path):
    rain = make(n=3)
    same(open_prism(write_prism(rain[[2, 0, 1], ::-1].assign_coords(lon=rain.lon+360).transpose('lon', 'time',
            'lat'), tmp_path)), rain)

def test_written_bytes_are_always_the_same(tmp_path):
    a,b = (write_prism(make(n=1), tmp_path/k, 'bil')[0].read_bytes() for k in 'ab'); assert a == b

@pytest.mark.parametrize('layout', ['bil', 'cog'])
def test_onto_another_grid(tmp_path, layout):
    rain = xr.DataArray(np.arange(1., 13).reshape(1, 3, 4),
                        dict(time=np.array(['2000-01'], 'M8[ns]'), lat=[31., 33, 35], lon=[-101., -99, -97, -95]),
                        ('time', 'lat', 'lon'))
    grid = Grid((12, 16), (29., 35.), (-101., -93.)); got = open_prism(write_prism(rain, tmp_path, layout, grid))[0]
    np.testing.assert_allclose(got.lat, grid.y_centres); np.testing.assert_allclose(got.lon, grid.x_centres)
    for y in got.lat.values:
        for x in got.lon.values:
            inside = 30 <= y < 36 and -102 <= x < -94; v = float(got.sel(lat=y, lon=x))
            assert v == float(rain[0].sel(lat=y, lon=x, method='nearest')) if inside else np.isnan(v)

@pytest.mark.parametrize('error,text,change,layout', [(ConfigError, "layout must be", lambda r: r, 'asc'),
        (DataError, "in mm; got 'inch'", lambda r: r.assign_attrs(units='inch'), 'bil'),
        (DataError, 'no rain in one month, like -1', lambda r: r.where(r.lat > 40.3, -1.), 'bil'),
        (DataError, 'like inf', lambda r: r.where(r.lat > 40.3, np.inf), 'cog'),
    (DataError, 'must be .time, lat, lon.', lambda r: r[0], 'bil'),
    (DataError, '1990-02', lambda r: r.isel(time=[0, 1, 1]), 'bil'),
    (DataError, 'equally spaced', lambda r: r.isel(lat=[0, 1, 3]), 'bil')])
def test_writing_refused(tmp_path, error, text, change, layout):
    with pytest.raises(error, match=text): write_prism(change(make()), tmp_path, layout)
    assert not list(tmp_path.iterdir())

# ---- files that are not what they should be

@pytest.mark.parametrize('name,want', [('PRISM_ppt_stable_4kmM3_198101_bil.bil', ('ppt', '198101')),
                                       ('a/b/PRISM_ppt_provisional_4kmM2_1900_bil.bil', ('ppt', '1900')),
                                       ('prism_ppt_us_25m_202501.tif', ('ppt', '202501')),
                                       ('prism_ppt_us_30s_20250117.tif', ('ppt', '20250117')),
                                       ('PRISM_tmin_stable_4kmM3_198101_bil.bil', ('tmin', '198101')),
    ('PRISM_ppt_30yr_normal_4kmM4_01_bil.bil', None), ('PRISM_ppt_30yr_normal_4kmM4_annual_bil.bil', None),
    ('rain_198101.tif', None), ('PRISM_ppt_stable_4kmM3_198101_bil.hdr', None),
    ('prism_ppt_us_25m_202501.tif.aux.xml', None)])
def test_raster_names(name, want): assert raster_name(name) == want

def test_other_kinds_of_files(tmp_path):
    def fake(name, *members):
        with zipfile.ZipFile(tmp_path/name, 'w') as z:
            for m in members: z.writestr(m, b'x')
        return tmp_path/name
    tmin,day = fake('a.zip', 'PRISM_tmin_stable_4kmM3_198101_bil.bil'),fake('b.zip', 'prism_ppt_us_25m_19810117.tif')
    year,bad,empty = fake('c.zip', 'prism_ppt_us_25m_1981.tif'),fake('d.zip',
            'prism_ppt_us_25m_198113.tif'),fake('e.zip', 'readme.txt')
    with pytest.raises(DataError, match='holds tmin, not precipitation'): open_prism(tmin)
    with pytest.raises(DataError, match='is daily'): open_prism(day)
    with pytest.raises(DataError, match='no monthly PRISM raster'): open_prism(year)
    with pytest.raises(DataError, match='no month 13'): open_prism(bad)
    with pytest.raises(FormatError, match='no .bil and no .tif'): open_prism(empty)
    with pytest.raises(DataError, match='no monthly'): open_prism([])
    (tmp_path/'nothing').mkdir()
    with pytest.raises(DataError, match='no monthly'): open_prism(tmp_path/'nothing')
    with pytest.raises(DataError, match='no file'): open_prism(tmp_path/'gone.zip')
    with pytest.raises(DataError, match='not named as PRISM'): open_prism(fake('f.zip', 'rain198101.tif'))
    (tmp_path/'g.zip').write_bytes(b'PK nothing')
    with pytest.raises(FormatError, match='g.zip.*cannot be read as a zip'): open_prism(tmp_path/'g.zip')

def test_a_folder_with_other_variables(tmp_path):
    rain = make(n=2)
    a,b = write_prism(rain, tmp_path)
    tmin = repack(a, lambda n, d: (n.replace('ppt', 'tmin'), d), tmp_path/a.name.replace('ppt', 'tmin'))
    same(open_prism(tmp_path), rain)
    with pytest.raises(DataError, match='tmin'): open_prism([a, tmin, b])
    a.unlink(); b.unlink()
    with pytest.raises(DataError, match='tmin'): open_prism(tmp_path)

def test_months_twice_or_missing(tmp_path):
    a,b,c = write_prism(make(n=3), tmp_path/'x'); new = write_prism(make(n=3), tmp_path/'y', 'cog')
    with pytest.raises(DataError, match=f'1990-02 twice, in {b.name} and in {new[1].name}'):
        open_prism([a, b, c, new[1]])
    with pytest.raises(DataError, match='1990-02 is missing'): open_prism([a, c])
    assert list(prism_months([c, new[1], a])) == [np.datetime64(f'1990-0{i}') for i in (1, 2, 3)]

@pytest.mark.parametrize('layout', ['bil', 'cog'])
def test_mixed_grids(tmp_path, layout):
    files = write_prism(make(n=1), tmp_path, layout)+write_prism(make('1990-02', 1, lat0=41.), tmp_path,
            'bil')+write_prism(make('1990-03', 1, w=31), tmp_path, 'cog')
    got = open_prism(files); got[0].values
    for i in 1,2:
        with pytest.raises(DataError, match=f'19900{i+1}.* lies on another grid than the first month'): got[i].values

@pytest.mark.parametrize('layout', ['bil', 'cog'])
@pytest.mark.parametrize('at', [.1, .3, .5, .7])
def test_damaged_members(tmp_path, layout, at):
    f, = write_prism(make(n=1, h=60, w=60), tmp_path, layout)
    good = f.read_bytes()
    size = zipfile.ZipFile(f).infolist()[0].compress_size
    bad = bytearray(good); bad[60+int(at*(size-60))] ^= 0x55; f.write_bytes(bad)
    with pytest.raises(FormatError, match='is damaged'): open_prism(f)[:, :3, :3].values
    f.write_bytes(good[:int(at*len(good))])
    with pytest.raises(FormatError, match='cannot be read as a zip'): open_prism(f)

def test_headers_of_zipped_tiffs_leave_no_file_open(tmp_path, monkeypatch):
    "Whatever is damaged; and a header beyond the part that is looked at first is found."
    f, = write_prism(make(n=1, h=60, w=60), tmp_path, 'cog'); good = f.read_bytes(); rng = np.random.default_rng(0)
    want = open_prism(f).values
    monkeypatch.setattr('mrtl.climate.prism.HEAD', 64); np.testing.assert_array_equal(open_prism(f).values, want)
    monkeypatch.setattr('mrtl.climate.prism.HEAD', 2**20)
    before = len(list(Path('/proc/self/fd').iterdir())) if Path('/proc/self/fd').exists() else 0
    for _ in range(150):
        bad = bytearray(good); at = rng.integers(0, 120, 2); bad[at[0]] ^= 0x55; bad[at[1]] = 0; f.write_bytes(bad)
        try: open_prism(f).values
        except FormatError: pass
    if before: assert len(list(Path('/proc/self/fd').iterdir()))<=before+2

def test_truncated_bare_files(tmp_path):
    d = unpack(write_prism(make(n=1), tmp_path/'z'), tmp_path/'bil')
    bil, = d.glob('*.bil')
    bil.write_bytes(bil.read_bytes()[:-400])
    with pytest.raises(FormatError, match='has 2000 bytes'): open_prism(bil).values
    bil.with_suffix('.hdr').unlink()
    with pytest.raises(FormatError, match='no header'): open_prism(bil)
    d = unpack(write_prism(make(n=1, h=60, w=60), tmp_path/'y', 'cog'), tmp_path/'cog')
    tif, = d.glob('*.tif'); whole = tif.read_bytes()
    for keep in 10,len(whole)//2:
        tif.write_bytes(whole[:keep])
        with pytest.raises(FormatError, match='cannot be read as GeoTIFF'): open_prism(tif).values

@pytest.mark.parametrize('change,text', [(('PIXELTYPE      FLOAT', 'PIXELTYPE SIGNEDINT'), 'PIXELTYPE SIGNEDINT'),
                                         (('NBITS          32', 'NBITS 16'), 'NBITS 16'),
                                         (('NBANDS         1', 'NBANDS 3'), 'NBANDS 3'),
                                         (('NROWS', 'ROWS'), 'KeyError'),
                                         (('ULXMAP         -100', 'ULXMAP west'), 'ValueError')])
def test_headers_refused(tmp_path, change, text):
    f, = write_prism(make(n=1), tmp_path)
    repack(f, lambda n, d: (n, d.decode().replace(*change)) if n.endswith('.hdr') else (n, d))
    with pytest.raises(FormatError, match=text): open_prism(f)

def test_tifs_refused(tmp_path):
    rio = pytest.importorskip('rasterio'); f = tmp_path/'prism_ppt_us_25m_199001.tif'
    def write(bands=1, crs='EPSG:4269', where=rio.Affine(.1, 0, -100, 0, -.1, 42), nodata=-9999., fill=1.):
        with rio.open(f, 'w', driver='GTiff', height=8, width=9, count=bands, dtype='float32', crs=crs,
                      transform=where, nodata=nodata) as r:
            r.write(np.full((bands, 8, 9), fill, 'float32'))
    for kw in dict(bands=2),dict(crs='EPSG:5070'),dict(where=rio.Affine(.1, 0, -100, 0, .1, 42)):
        write(**kw)
        with pytest.raises(FormatError, match='is no PRISM raster'): open_prism(f)
    for tag in None,-1.:
        write(nodata=tag, fill=-9999.); assert open_prism(f).isnull().all()
    for fill in -99.,np.inf:
        write(nodata=None, fill=fill)
        with pytest.raises(DataError, match='72 values that are no rain'): open_prism(f).values

def test_without_rasterio(tmp_path, monkeypatch):
    import sys
    rain = make(n=1); new = write_prism(rain, tmp_path/'c', 'cog'); monkeypatch.setitem(sys.modules, 'rasterio', None)
    same(open_prism(write_prism(rain, tmp_path/'b')), rain)
    for do in (lambda: open_prism(new), lambda: write_prism(rain, tmp_path/'d', 'cog')):
        with pytest.raises(ConfigError, match=re.escape("pip install 'mrtl[prism]'")): do()

@pytest.mark.parametrize('change',
                         [('NROWS          20', 'NROWS          -4'), ('NROWS          20', 'NROWS          0'),
                          ('NROWS          20', 'NROWS          99999999'),
                          ('NROWS          20', f"NROWS          {'9'*30}"),
                          ('XDIM           0', 'XDIM           -0'), ('XDIM           0', 'XDIM           9e9'),
                          ('ULXMAP         -', 'ULXMAP         nan'), ('ULYMAP         ', 'ULYMAP         9')])
def test_headers_that_are_no_map(tmp_path, change):
    "Rows below zero, a grid of a terabyte, cells wider than the globe: named before anything is allocated."
    f, = write_prism(make(n=1), tmp_path); old,new = change
    repack(f, lambda n, d: (n, d.decode().replace(old, new, 1).encode() if n.endswith('.hdr') else d))
    with pytest.raises(FormatError, match='is no map|is no header'): open_prism(f)

@pytest.mark.parametrize('v', [-1., np.inf, 20_000.])
def test_rain_that_cannot_be(tmp_path, v):
    "A number beyond the wettest month ever is refused when the month is read."
    f, = write_prism(make(n=1)*0+1, tmp_path)
    bad = np.full(600, v, '<f4').tobytes()
    repack(f, lambda n, d: (n, bad if n.endswith('.bil') else d))
    with pytest.raises(DataError, match='600 values that are no rain'): open_prism(f).values

@pytest.mark.parametrize('key', ['NROWS', 'NCOLS'])
def test_numbers_of_any_length_are_no_map(key):
    head = dict(NROWS='3', NCOLS='4', ULYMAP='40', ULXMAP='-100', YDIM='.5', XDIM='.5')|{key: '9'*400}
    with pytest.raises(FormatError, match='far too many.*no map'):
        read_hdr('\n'.join(f'{k} {v}' for k,v in head.items()))
