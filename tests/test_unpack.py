"""Archives from outside: sizes before and while unpacking, names, passwords, damage; cells of CSV files; what model
files must not hold; checksums of downloads."""
import bz2, gzip, io, json, lzma, os, random, resource, struct, subprocess, sys, tarfile, zipfile
from functools import lru_cache
import numpy as np, pandas as pd, pytest, xarray as xr
from hypothesis import given, settings, strategies as st
from mrtl import unpack
from mrtl.climate.fields import open_fields
from mrtl.climate.prism import open_prism, write_prism
from mrtl.climate.rain import rain_target
from mrtl.core import ConfigError, DataError, FormatError, MRTLError, plain_cells, safe_cells, write_csv
from mrtl.unpack import archive_kind, check_size, contents, extracted, member_bytes, members, members_ending, open_gzip
from conftest import ROOT

DATA = os.urandom(3000)
def zipped(path, *entries, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', method) as z:
        for name,data in entries: z.writestr(name, data)
    return path
def tarred(path, *entries):
    with tarfile.open(path, 'w:gz' if str(path).endswith('gz') else 'w') as t:
        for name,data in entries: i = tarfile.TarInfo(name); i.size = len(data); t.addfile(i, io.BytesIO(data))
    return path
def seven(path, *entries, **kw):
    import py7zr
    with py7zr.SevenZipFile(path, 'w', **kw) as z:
        for name,data in entries: z.writestr(data, name)
    return path
MAKE = {'.zip': zipped, '.tar': tarred, '.tar.gz': tarred, '.tgz': tarred, '.7z': seven}

def field(path, n=24):
    rng = np.random.default_rng(0); lat,lon = np.arange(36.5, 50),np.arange(-104.5, -80)
    da = xr.DataArray(rng.gamma(2, 30, (n, 14, 25)).astype('f4'),
                      dict(time=(np.datetime64('2000-01')+np.arange(n)).astype('M8[ns]'), lat=lat, lon=lon),
                      ('time', 'lat', 'lon'), 'precip', dict(units='mm'))
    da.to_netcdf(path); return da

# ---- what is good comes out

@pytest.mark.parametrize('end', MAKE)
def test_round_trip(tmp_path, end):
    f = MAKE[end](tmp_path/f'a{end}', ('b/x.nc', DATA), ('b/y.txt', b'no'))
    assert {n: m.size for n,m in members(f).items()} == {'b/x.nc': 3000, 'b/y.txt': 2}
    assert member_bytes(f, 'b/x.nc') == DATA and members_ending(f,
            ('.nc',)) == ['b/x.nc'] and members_ending(f, ('.bil',)) == []
    with pytest.raises(FormatError, match='has no z.nc'): member_bytes(f, 'z.nc')

@pytest.mark.parametrize('end', ['.zip', '.tar', '.tar.gz', '.tgz', '.nc.gz'])
def test_fields_and_rain_in_archives(tmp_path, end):
    da = field(tmp_path/'r.nc'); raw = (tmp_path/'r.nc').read_bytes(); f = tmp_path/f'r{end}'
    f.write_bytes(gzip.compress(raw, 1)) if end == '.nc.gz' else MAKE[end](f, ('d/r.nc', raw))
    np.testing.assert_array_equal(open_fields(f)[0].values, da.values)
    np.testing.assert_allclose(rain_target(f, 'IA'), rain_target(da, 'IA'), rtol=1e-12)

def test_a_folder_of_archives(tmp_path):
    da = field(tmp_path/'r.nc'); (tmp_path/'d').mkdir()
    (tmp_path/'d'/'r.nc.gz').write_bytes(gzip.compress((tmp_path/'r.nc').read_bytes(), 1))
    np.testing.assert_array_equal(open_fields(tmp_path/'d')[0].values, da.values)

@pytest.mark.parametrize('name,kind', [('a.ZIP', 'zip'), ('a.tar', 'tar'), ('a.TAR.GZ', 'tar'), ('a.tgz', 'tar'),
                                       ('a.nc.gz', 'gzip'), ('a.7z', '7z'), ('a.nc', ''),
                                       ('zip', ''), ('a.zip.nc', '')])
def test_kinds(name, kind): assert archive_kind(name) == kind

# ---- bombs: measured in a process of its own

BOMBS = {'zip': lambda f: big_zip(f/'a.zip'), 'zip that lies about its size': lambda f: lying_zip(f/'a.zip'),
         'zip that lies about what is packed': lambda f: lying_zip(f/'a.zip', packed=2**30),
         'zip in bzip2': lambda f: big_zip(f/'a.zip', zipfile.ZIP_BZIP2, 2**27),
         'zip in lzma': lambda f: big_zip(f/'a.zip', zipfile.ZIP_LZMA, 2**27),
    'gzip': lambda f: big_gzip(f/'a.nc.gz'), 'gzip that lies': lambda f: big_gzip(f/'a.nc.gz', lie=True),
    'gzip of many members': lambda f: many_gzip(f/'a.nc.gz'), 'tar.gz': lambda f: big_tar(f/'a.tar.gz'),
    'tar with a sparse giant': lambda f: sparse_tar(f/'a.tar'),
    '7z': lambda f: seven(f/'a.7z', ('a.nc', bytes(2**27))), 'prism': lambda f: big_zip(f/'PRISM.zip', size=2**27,
        name='PRISM_ppt_stable_4kmM3_200001_bil.hdr', also='PRISM_ppt_stable_4kmM3_200001_bil.bil')}
@lru_cache
def big_zip_bytes(method, size, name, also):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', method) as z:
        with z.open(name, 'w', force_zip64=True) as f: [f.write(bytes(2**24)) for _ in range(size >> 24)]
        if also: z.writestr(also, b'')
    return out.getvalue()
def big_zip(f, method=zipfile.ZIP_DEFLATED, size=2**28, name='sst.nc', also=None):
    f.write_bytes(big_zip_bytes(method, size, name, also))
    return f
def lying_zip(f, size=1000, packed=None):
    raw = bytearray(big_zip(f).read_bytes()); at = raw.rindex(b'PK\1\2')
    if packed: raw[at+20:at+24] = struct.pack('<I', packed)
    else: raw[at+24:at+28] = struct.pack('<I', size)
    f.write_bytes(raw); return f
@lru_cache
def big_gzip_bytes():
    out = io.BytesIO()
    with gzip.open(out, 'wb') as f: [f.write(bytes(2**24)) for _ in range(16)]
    return out.getvalue()
def big_gzip(f, lie=False): f.write_bytes(big_gzip_bytes()[:-4]+b'\1\0\0\0' if lie else big_gzip_bytes()); return f
def many_gzip(f): f.write_bytes(gzip.compress(bytes(2**20))*300); return f
def big_tar(f):
    i = tarfile.TarInfo('sst.nc'); i.size = 2**28
    f.write_bytes(gzip.compress(i.tobuf())+gzip.compress(bytes(2**24))*16+gzip.compress(bytes(1024)))
    return f
def sparse_tar(f):
    with tarfile.open(f, 'w', format=tarfile.GNU_FORMAT) as t:
        i = tarfile.TarInfo('sst.nc'); i.size = 2**40
        t.fileobj.write(i.tobuf(tarfile.GNU_FORMAT))
        t.fileobj.write(bytes(1024))
    return f

MEASURE = '''
import resource, sys, netCDF4
from pathlib import Path
from mrtl.core import MRTLError
from mrtl.climate.fields import open_fields
from mrtl.climate.rain import rain_target
from mrtl.unpack import archive_kind, members, member_bytes
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//(1024 if sys.platform!='darwin' else 2**20)
before = peak()
for f in map(Path, sys.argv[1:]):
    try:
        if f.name=='PRISM.zip': rain_target(f, 'IA')
        elif archive_kind(f)=='7z': member_bytes(f, 'a.nc')
        else: open_fields(f)
        told = 'it was read'
    except MRTLError as e: told = str(e)[:300].replace('\\n', ' ')
    print(peak()-before, told)
'''
def test_bombs_take_little_memory(tmp_path):
    "One process meets them all, and grows by less than a third of what any would unpack to."
    files = [make((tmp_path/str(i), (tmp_path/str(i)).mkdir())[0]) for i,make in enumerate(BOMBS.values())]
    assert all(f.stat().st_size < 5e5 for f in files)
    out = subprocess.run([sys.executable, '-c', MEASURE, *map(str, files)], capture_output=True, text=True,
                         timeout=100, check=True, cwd=ROOT,
                         env=os.environ|dict(OMP_NUM_THREADS='1')).stdout.strip().splitlines()
    for kind,f,line in zip(BOMBS, files, out, strict=True):
        mib,told = line.split(' ', 1)
        assert int(mib) < 80, f'{kind}: {mib} MiB: {told}'
        assert f.name in told and ('would unpack to' in told or 'packed in way' in told
                                   or 'cannot be read' in told), (kind, told)

@pytest.mark.parametrize('size,packed,ok', [(0, 0, 1), (2**25, 1, 1), (2**25+1, 1, 0), (2**30, 2**30//60+1, 1),
                                            (2**30, 2**30//61, 0), (2**31, 2**31, 1),
                                            (2**31+1, 2**31, 0), (2**60, 2**60, 0)])
def test_sizes(size, packed, ok):
    if ok: check_size(size, packed, 'it')
    else:
        with pytest.raises(FormatError, match='it would unpack to .*do not trust it, or unpack it yourself'):
            check_size(size, packed, 'it')

# ---- names, passwords, damage

@pytest.mark.parametrize('end', ['.zip', '.tar', '.tar.gz'])
@pytest.mark.parametrize('name', ['../x.nc', '/etc/x.nc', 'a/../../x.nc', 'C:/x.nc', 'c:x.nc', '..\\x.nc',
                                  '\\\\host\\x.nc', 'a/..'])
def test_names_that_lead_outside(tmp_path, end, name):
    f = MAKE[end](tmp_path/f'a{end}', (name, DATA))
    with pytest.raises(FormatError, match='outside its folder: do not trust it'): member_bytes(f, name)
    with pytest.raises(MRTLError): open_fields(f)

@pytest.mark.parametrize('end', ['.zip', '.tar', '.tgz'])
def test_a_name_twice(tmp_path, end):
    with pytest.warns(UserWarning) if end == '.zip' else nothing():
        f = MAKE[end](tmp_path/f'a{end}', ('x.nc', DATA), ('y.nc', DATA), ('x.nc', b'other'))
    with pytest.raises(FormatError, match="has 'x.nc' twice, so that it is not known which is meant"):
        member_bytes(f, 'x.nc')

def nothing():
    from contextlib import nullcontext
    return nullcontext()

@pytest.mark.parametrize('inner', ['x.zip', 'x.tar.gz', 'x.nc.gz', 'x.7z'])
@pytest.mark.parametrize('end', ['.zip', '.tar', '.7z'])
def test_an_archive_within(tmp_path, end, inner):
    f = MAKE[end](tmp_path/f'a{end}', (inner, DATA))
    with pytest.raises(FormatError, match=f"holds the archive '{inner}': unpack it once by hand"):
        members_ending(f, ('.nc',))
    if end != '.7z':
        with pytest.raises(FormatError, match='unpack it once by hand'): open_fields(f)

def test_locked(tmp_path):
    f = zipped(tmp_path/'a.zip', ('x.nc', DATA)); raw = bytearray(f.read_bytes())
    for mark,at in ((b'PK\1\2', 8), (b'PK\3\4', 6)): raw[raw.index(mark)+at] |= 1
    f.write_bytes(raw)
    with pytest.raises(FormatError, match='locked with a password'): open_fields(f)
    with pytest.raises(FormatError, match='locked with a password'):
        members(seven(tmp_path/'a.7z', ('x.json', b'{}'), password='x'))

def test_links_are_no_files(tmp_path):
    with tarfile.open(tmp_path/'a.tar', 'w') as t:
        i = tarfile.TarInfo('x.nc')
        i.type,i.linkname = tarfile.SYMTYPE,'/etc/passwd'
        t.addfile(i)
    assert members(tmp_path/'a.tar') == {}
    with pytest.raises(DataError, match='holds no netCDF file but nothing'): open_fields(tmp_path/'a.tar')

def test_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, 'MANY', 3); f = zipped(tmp_path/'a.zip', *((f'{i}.nc', b'') for i in range(4)))
    with pytest.raises(FormatError, match='has 4 members'): members(f)

@pytest.mark.parametrize('end', ['.zip', '.tar', '.tar.gz', '.7z', '.nc.gz'])
def test_damage(tmp_path, end):
    "Cut off, or with bytes changed: what comes out is right, or one of our errors, in whatever place it is."
    f = tmp_path/f'a{end}'
    f.write_bytes(gzip.compress(DATA)) if end == '.nc.gz' else MAKE[end](f, ('x.nc', DATA))
    raw = f.read_bytes(); rng = random.Random(0)
    told = 0
    for k in range(80):
        bad = bytearray(raw)
        if k%4 == 0: bad = bad[:rng.randrange(len(bad))]
        elif k%4 == 1: at = rng.randrange(len(bad)); bad[at:at+rng.randrange(1, 30)] = os.urandom(rng.randrange(40))
        else:
            bad[rng.choice([rng.randrange(len(bad)), rng.randrange(min(64, len(bad))),
                            -1-rng.randrange(min(120, len(bad)))])] ^= 1 << rng.randrange(8)
        f.write_bytes(bad)
        try: out = contents(f) if end == '.nc.gz' else member_bytes(f, 'x.nc')
        except MRTLError as e: told += 1; assert len(str(e)) > 40
        else: assert out == DATA or end == '.tar'  # tar has no checksum of what it holds
    assert told > 15

def test_the_door_in_seven_zip(tmp_path):
    f = seven(tmp_path/'g.7z', ('d/1.json', b'{}'), ('readme.txt', b''))
    with extracted(f, '.json') as log: assert log.read_bytes() == b'{}'
    assert not log.exists()
    for files,says in (((), 'holds 0 JSON files'), ((('a.json', b''), ('b.json', b'')), 'holds 2 JSON files')):
        with pytest.raises(FormatError, match=says):
            with extracted(seven(tmp_path/'h.7z', *files) if files else seven(tmp_path/'h.7z',
                    ('x.txt', b'1')), '.json'):
                pass

def test_no_py7zr(tmp_path, monkeypatch):
    f = seven(tmp_path/'g.7z', ('1.json', b'{}')); monkeypatch.setitem(sys.modules, 'py7zr', None)
    with pytest.raises(ConfigError, match=r'mrtl\[sevenzip\]'): members(f)

def test_no_file(tmp_path):
    for end in '.zip', '.tar', '.7z':
        with pytest.raises(DataError, match='there is no file'): members(tmp_path/f'no{end}')

# ---- cells that look like formulas

FORMULAS = ['=1+1', '+1-2', '-x', '@SUM(A1)', '\t=1', '\r=1', '=HYPERLINK("http://x")', "=cmd|' /C calc'!A0", "'=1",
            "''-x", '-', '=', '+', '@', '-5a', '--5', '+-1', '=1\n2']
@pytest.mark.parametrize('text', FORMULAS)
def test_formulas(tmp_path, text):
    t = pd.DataFrame({'name': [text, 'Ann'], text: [1., -2.]})
    write_csv(tmp_path/'t.csv', t)
    raw = pd.read_csv(tmp_path/'t.csv', keep_default_na=False)
    assert raw['name'][0][0] == "'" and raw.columns[1][0] == "'" and plain_cells(raw)['name'].tolist() == [text,
            'Ann'] and list(plain_cells(raw).columns) == ['name', text]

@pytest.mark.parametrize('v', ['-5', '+5.5', '-1e-3', '-inf', 'Ann', '', '0201', '1+1', 'a=b',
                               "it's", ' =1', '5-3', 'x@y'])
def test_what_stays(v): assert safe_cells(pd.DataFrame(dict(a=[v]))).a[0] == v

def test_numbers_and_kinds_stay(tmp_path):
    t = pd.DataFrame(dict(i=[-1, 2], f=[-.5, np.nan], b=[True, False], d=pd.to_datetime(['2000-01-01', None]),
                          o=[-1, 'x'], n=[None, '-x'], c=pd.Categorical(['=a', 'b'])))
    s = safe_cells(t)
    assert (s.dtypes[['i', 'f', 'b', 'd', 'o']]
            == t.dtypes[['i', 'f', 'b', 'd',
                         'o']]).all() and s.n[1] == "'-x" and pd.isna(s.n[0]) and s.c.tolist() == ["'=a",
            'b'] and t.c.dtype == 'category'
    plain = t.drop(columns=['n', 'c'])
    write_csv(tmp_path/'a.csv', plain)
    assert (tmp_path/'a.csv').read_text() == plain.to_csv(index=False)
    twice = pd.DataFrame([[1, '=a']], columns=['=x', '=x']); assert plain_cells(safe_cells(twice)).equals(twice)

LABEL = st.text(st.characters(codec='utf-8', exclude_characters='\0', exclude_categories=('Cs',)), min_size=1,
                max_size=12) | st.sampled_from(FORMULAS) | st.text("'=+-@\t\r\n\", a1", min_size=1, max_size=6)
@settings(max_examples=200, deadline=None)
@given(st.lists(LABEL, min_size=1, max_size=5))
def test_labels_come_back(tmp_path_factory, labels):
    f = tmp_path_factory.mktemp('csv')/'t.csv'
    t = pd.DataFrame(dict(label=labels, x=range(len(labels))))
    write_csv(f, t)
    raw = pd.read_csv(f, keep_default_na=False, dtype=dict(label=str)); assert plain_cells(raw).label.tolist() == labels
    for cell in raw.label: assert cell[0] not in '=+-@\t\r' or is_number(cell)
def is_number(t):
    try: float(t); return True
    except ValueError: return False

# ---- model files carry no paths

def test_no_path_in_what_is_written(tmp_path):
    from mrtl import MRTLRegressor
    from mrtl.cli import main
    place = tmp_path/'a_place_of_mine'; place.mkdir()
    rng = np.random.default_rng(0); n = 240
    time = (np.datetime64('1950-01')+np.arange(n)).astype('M8[ns]')
    sst = xr.DataArray(rng.normal(size=(n, 4, 6)),
                       dict(time=time, lat=np.arange(-15., 16, 10), lon=np.arange(-175., -120, 10)),
                       ('time', 'lat', 'lon'), 'sst', dict(units='degC'))
    sst.to_netcdf(place/'sst.nc')
    xr.DataArray(rng.gamma(2., size=(2, n)), dict(division=['0201', '0202'], state=('division', ['AZ', 'AZ']),
                                                  time=time), ('division', 'time'), 'precip',
                 dict(units='inch')).reset_coords('state').to_netcdf(place/'rain.nc')
    X = open_fields(place/'sst.nc')[0]
    m = MRTLRegressor(rank=1, max_epochs=2).fit(X.load(), rng.normal(size=n))
    m.save(place/'m.mrtl')
    assert not main(['climate', '--ocean', str(place/'sst.nc'), '--rain', str(place/'rain.nc'), '--region', 'AZ',
                     '--leads', '2', '--rank', '1', '--out', str(place/'run'), '--seed', '0'])
    written = [place/'m.mrtl', *sorted(p for p in (place/'run').rglob('*') if p.is_file())]
    assert {'model.mrtl', 'config.json', 'metrics.json', 'report.html'} <= {p.name for p in written}
    for p in written:
        raw = p.read_bytes(); raw = raw+(gzip.decompress(raw) if p.suffix == '.gz' else b'')
        for secret in ('a_place_of_mine', str(tmp_path), os.path.expanduser('~')+'/' if len(os.path.expanduser('~'))
                       > 5 else 'a_place_of_mine'):
            assert secret.encode() not in raw, f'{p.name} holds {secret}'

# ---- checksums of downloads

def test_checksums(tmp_path, monkeypatch):
    import hashlib, pooch
    from mrtl.climate import archives
    body = b'\x89HDF'+DATA
    monkeypatch.setattr(pooch, 'HTTPDownloader', lambda **kw: lambda url, to, _: open(to, 'wb').write(body))
    f, = archives.download('ersst_psl', tmp_path)
    note = tmp_path/'sst.mnmean.nc.sha256'
    assert (note.read_text() == f'{hashlib.sha256(body).hexdigest()}  sst.mnmean.nc\n'
            and archives.download('ersst_psl', tmp_path) == [f])
    for bad in body[:-1], body+b'x', b'':
        f.write_bytes(bad)
        with pytest.raises(DataError, match='is not the file that was fetched: its SHA-256 is'):
            archives.download('ersst_psl', tmp_path)
    f.write_bytes(body); assert archives.download('ersst_psl', tmp_path) == [f]
    for odd in '', 'no sum', '\x00\xff':
        note.write_text(odd)
        with pytest.raises(DataError, match='delete both to fetch it again, or only sst.mnmean.nc.sha256'):
            archives.download('ersst_psl', tmp_path)
    # put there by hand
    note.unlink(); f.write_bytes(b'by hand'); assert archives.download('ersst_psl', tmp_path) == [f]
    body = b'<html>'; f.unlink()
    with pytest.raises(DataError, match='something else'): archives.download('ersst_psl', tmp_path)
    assert list(tmp_path.iterdir()) == []
