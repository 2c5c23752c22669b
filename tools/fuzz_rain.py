"""Damage files of rain, archives, rasters and outlines at random, and read them: a reader must give values or a
named error, within ten seconds of the processor and little memory.

python tools/fuzz_rain.py --minutes 4                     # every reader in turn, for four minutes together
python tools/fuzz_rain.py --reader climdiv --case 1234    # one case again, with its traceback

A reader is two functions: one writes a sound file into a folder, the other reads it. Cases are numbered, and a
number gives the same damage again. Each reader has a process of its own.
"""
import argparse, gzip, json, random, re, resource, shutil, signal, subprocess, sys, tarfile, tempfile, time, traceback, zipfile
from collections import Counter
from pathlib import Path
import numpy as np, xarray as xr
from mrtl.climate.prism import open_prism, write_prism
from mrtl.climate.rain import rain_target
from mrtl.climate.regions import region_polygons, region_weights
from mrtl.core import MRTLError
from mrtl.unpack import member_bytes, members

LIMIT,MEMORY = 10,2**33 # Seconds and bytes for one case
ODD = ['NaN', 'inf', '-inf', '1e400', '-1', '0', '9'*400, '', 'x', '\0', '-9999', '1e-300', '2147483648', '0x10',
       '١', 'null', 'true', '[]', '{}', '"', '1 2', '-0', '90.0001', '1e30']

def months(n): return (np.datetime64('1990-01')+np.arange(n)).astype('M8[ns]')
def grid(n=3, h=8, w=9, step=1/24):
    return xr.DataArray(np.random.default_rng(0).gamma(2, 30, (n, h, w)).astype('f4'),
                        dict(time=months(n), lat=40+step*np.arange(h), lon=-96+step*np.arange(w)),
                        ('time', 'lat', 'lon'), 'ppt', dict(units='mm'))

def climdiv(f):
    rng = np.random.default_rng(0)
    (f/'climdiv-pcpndv').write_text(''.join(f'{d}01{y}'+''.join(f'{v:7.2f}' for v in rng.gamma(2., 1.5, 12))+'\n'
                                            for d in ('0201', '1301') for y in (1895, 1896)))
    return f/'climdiv-pcpndv'
def table(f):
    rng = np.random.default_rng(0)
    ds = xr.Dataset(dict(precip=(('division', 'time'), rng.gamma(2., size=(2, 24)), dict(units='inch')),
                         state=('division', ['AZ', 'IA'])), dict(division=['0201', '1301'], time=months(24)))
    ds.to_netcdf(f/'r.nc')
    return f/'r.nc'
def netcdf(f): grid(24, step=1.).to_netcdf(f/'r.nc'); return f/'r.nc'
def prism(f): return write_prism(grid(1), f)[0]
def cog(f): return write_prism(grid(1), f, 'cog')[0]
def bil(f):
    z = prism(f)
    with zipfile.ZipFile(z) as a: a.extractall(f)
    z.unlink(); return next(f.glob('*.hdr'))
def zipped(f):
    with zipfile.ZipFile(f/'a.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        z.write(netcdf(f), 'd/r.nc'); z.writestr('x.txt', 'no')
    return f/'a.zip'
def gz(f): (f/'a.nc.gz').write_bytes(gzip.compress(netcdf(f).read_bytes(), mtime=0)); return f/'a.nc.gz'
def tgz(f):
    with tarfile.open(f/'a.tar.gz', 'w:gz') as t: t.add(netcdf(f), 'd/r.nc')
    return f/'a.tar.gz'
def tar(f):
    with tarfile.open(f/'a.tar', 'w') as t: t.add(netcdf(f), 'd/r.nc')
    return f/'a.tar'
def seven(f):
    import py7zr
    with py7zr.SevenZipFile(f/'a.7z', 'w') as z: z.writestr('{}', 'a.json'); z.writestr('x'*5000, 'b.txt')
    return f/'a.7z'
def geojson(f):
    (f/'a.geojson').write_text(json.dumps(dict(type='FeatureCollection',
                                               features=[dict(type='Feature', id=k, properties=dict(name=f'n{k}'),
            geometry=dict(type='MultiPolygon',
                          coordinates=[[[[-96, 40], [-90, 40], [-90, 45], [-96, 45], [-96, 40]],
                                        [[-94, 42], [-93, 42], [-93, 43], [-94, 42]]]])) for k in range(2)])))
    return f/'a.geojson'
def units(f): (f/'u.txt').write_text('kg m-2 s-1 | mm/day | 0.1 mm | m of water equivalent'); return f/'u.txt'

def rows(p): return rain_target(p, 'all', by='division')
def rain_of(p): return rain_target(p, '41,43,-95,-90')
def raster(p): return open_prism(p if p.suffix!='.hdr' else p.with_suffix('.bil')).values
def archive(p): return [member_bytes(p, n) for n in members(p)]
def outline(p): return region_weights(region_polygons(p), np.arange(36.5, 50), np.arange(-104.5, -80))
def spelled(p):
    return rain_target(grid(24, 8, 9, 1.).assign_attrs(units=p.read_bytes().decode('latin-1').split('|')[0]),
                       '41,43,-95,-90')
READERS = dict(climdiv=(climdiv, rows), table=(table, rows), netcdf=(netcdf, rain_of), prism=(prism, raster),
               cog=(cog, raster), bil=(bil, raster), zipped=(zipped, rain_of), gz=(gz, rain_of), tgz=(tgz, rain_of),
               tar=(tar, rain_of), seven=(seven, archive), geojson=(geojson, outline), units=(units, spelled))

def damage(raw, r, text):
    "Change some bytes, or some words of a text."
    b = bytearray(raw)
    for _ in range(r.choice([1, 1, 2, 5])):
        k = r.randrange(7 if text else 5)
        at = r.randrange(len(b)) if b else 0
        at = r.choice([at, at, min(at, 600), max(0, len(b)-1-at%150)])
        if not b: break
        if k==0: b = b[:at]
        elif k==1: b[at] ^= 1 << r.randrange(8)
        elif k==2: b[at:at+r.randrange(1, 40)] = r.randbytes(r.randrange(40))
        elif k==3: b[at:at+r.choice([1, 2, 4, 8])] = r.choice([b'\0', b'\xff', b'\x7f'])*r.choice([1, 2, 4, 8])
        elif k==4: b[at:at] = b[at:at+r.randrange(1, 400)]
        else:
            words = re.split(rb'([\s,:\[\]{}"]+)', bytes(b))
            i = r.randrange(len(words))
            words[i] = r.choice(ODD).encode() if r.random()<.7 else words[r.randrange(len(words))]
            b = bytearray(b''.join(words))
    return bytes(b)

def case(reader, n, folder):
    "One damaged file, read: None, or the words of the named error."
    make,read = READERS[reader]; sound = folder/'sound'
    if not sound.exists(): sound.mkdir(parents=True); (folder/'name').write_text(make(sound).name)
    bad = folder/'bad'
    shutil.rmtree(bad, ignore_errors=True)
    shutil.copytree(sound, bad)
    p = bad/(folder/'name').read_text()
    p.write_bytes(damage(p.read_bytes(), random.Random(f'{reader} {n}'),
                         reader in ('climdiv', 'bil', 'geojson', 'units')))
    try: read(p)
    except MRTLError as e:
        if len(str(e))<30: raise AssertionError(f'says little: {e}') from e
        return str(e)

def work(reader, minutes, start):
    "Cases until the time is up; what was raw is printed once for each place."
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    until,counts,seen = time.process_time()+60*minutes,Counter(),{}
    def late(*_): raise TimeoutError('longer than the limit')
    signal.signal(signal.SIGPROF, late)
    with tempfile.TemporaryDirectory() as folder:
        n = start
        while time.process_time()<until:
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
            try: counts['read' if case(reader, n, Path(folder)) is None else 'named'] += 1
            except BaseException as e:
                counts['raw'] += 1
                where = traceback.extract_tb(e.__traceback__)[-1]
                seen.setdefault((type(e).__name__, where.filename.rsplit('/', 1)[-1], where.lineno), (n, str(e)[:150]))
                if isinstance(e, KeyboardInterrupt): break
            signal.setitimer(signal.ITIMER_PROF, 0); n += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024
    print(f"{reader}: {sum(counts.values())} files, {counts['read']} read, {counts['named']} named, "
          f"{counts['raw']} raw; {peak} MiB at most", flush=True)
    for k,(n,said) in seen.items(): print(f"  {k[0]} in {k[1]}:{k[2]} (case {n}): {said}", flush=True)
    return counts['raw']

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--reader', default='all', choices=['all', *READERS])
    p.add_argument('--minutes', type=float, default=4.)
    p.add_argument('--start', type=int, default=0)
    p.add_argument('--case', type=int)
    a = p.parse_args()
    if a.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            return print(case(a.reader, a.case, Path(folder)) or 'it was read')
    if a.reader!='all': return int(work(a.reader, a.minutes, a.start)>0)
    return max(subprocess.run([sys.executable, '-W', 'ignore', __file__, '--reader', r, '--minutes',
                               str(a.minutes/len(READERS)), '--start', str(a.start)]).returncode for r in READERS)

if __name__=='__main__': sys.exit(main())
