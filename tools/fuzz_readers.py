"""Damage files at random, in bytes and in structure, and read them: a reader must give values or a named error,
within ten seconds of the processor.

python tools/fuzz_readers.py --reader all --minutes 4        # every reader in turn, for four minutes of the
processor together
python tools/fuzz_readers.py --reader classic --case 1234    # one case again, with its traceback

A reader is two functions: one writes a sound file into a folder, the other reads it. Cases are numbered, and a
number gives the same damage again.
Each reader runs in a process of its own, so that a crash of a C library is a finding like any other.
"""
import argparse, json, random, resource, shutil, signal, subprocess, sys, tempfile, time, traceback, zipfile
from collections import Counter
from pathlib import Path
import netCDF4, numpy as np, xarray as xr
from mrtl.climate.fields import common_grid, open_fields
from mrtl.climate.prepare import climate_problem
from mrtl.core import MRTLError
from mrtl.readers import open_netcdf

LIMIT,STILL = 10,300 # Seconds of the processor for one case, and seconds without any sign of life

def sound(n=24):
    "Two fields, with bounds and everything that a file says about itself."
    t = np.arange(n)*30.4+15; rng = np.random.default_rng(0)
    x = rng.normal(15, 5, (n,6,8)).astype('f4'); x[:,0,:3] = np.nan
    at = dict(time=('time', t, dict(units='days since 1990-01-01', calendar='standard', bounds='time_bnds')),
              lat=('lat', np.linspace(-50, 50, 6), dict(units='degrees_north', bounds='lat_bnds')),
              lon=('lon', np.arange(0., 360, 45), dict(units='degrees_east')))
    e = np.cumsum([0,*[[31,28,31,30,31,30,31,31,30,31,30,31][i%12]+(i==25) for i in range(n)]]).astype(float)
    at['time'] = ('time', (e[1:]+e[:-1])/2, at['time'][2])
    says = dict(units='degC', valid_range=np.array([-50,60], 'f4'), cell_methods='time: mean')
    return xr.Dataset(dict(sst=(('time','lat','lon'), x, says),
                           slp=(('time','lat','lon'), x*0+1000+x, dict(units='hPa')),
                           time_bnds=(('time','nv'), np.c_[e[:-1],e[1:]]),
                           lat_bnds=(('lat','nv'), np.c_[np.linspace(-60, 40, 6),np.linspace(-40, 60, 6)])), at)

def netcdf4(folder):
    sound().to_netcdf(folder/'a.nc',
                      encoding=dict(sst=dict(_FillValue=-1e30),
                                    slp=dict(dtype='i2', scale_factor=.01, add_offset=1000., _FillValue=-32768)))
    return folder/'a.nc'
def compressed(folder):
    sound().to_netcdf(folder/'a.nc',
                      encoding={v: dict(zlib=True, shuffle=True, fletcher32=True, chunksizes=(12,6,8))
                                for v in ('sst','slp')})
    return folder/'a.nc'
def classic(folder):
    sound().to_netcdf(folder/'a.nc', format='NETCDF3_CLASSIC', unlimited_dims=['time'])
    return folder/'a.nc'
def zipped(folder):
    with zipfile.ZipFile(folder/'a.zip', 'w', zipfile.ZIP_DEFLATED) as z: z.write(compressed(folder), 'x.nc')
    (folder/'a.nc').unlink(); return folder/'a.zip'
def store(folder):
    sound().to_zarr(folder/'a.zarr', consolidated=False, encoding={v: dict(chunks=(12,6,8)) for v in ('sst','slp')})
    return folder/'a.zarr'
def arrays(folder): return classic(folder)

def fields(path): return [f.compute() for f in open_fields(path)]
def whole(path): open_netcdf(path) if path.suffix=='.nc' else None; return common_grid(fields(path))
def memory(path):
    try: open_netcdf(path); ds = xr.load_dataset(path) # what mrtl refuses to open might hang the C library
    except Exception: return None # a file that xarray cannot read is another reader's case
    y = xr.DataArray(np.arange(24.)%5, dict(time=xr.date_range('1990-01-01', periods=24, freq='MS')), ('time',))
    return climate_problem(ds, y, leads=1, block=3)

READERS = dict(netcdf4=(netcdf4, whole), compressed=(compressed, fields), classic=(classic, whole),
               zipped=(zipped, fields), store=(store, fields), arrays=(arrays, memory))

# ---- damage

def bytes_of(path, r):
    "Flip, blank, cut, insert, copy or drop some bytes of one file."
    files = [path] if path.is_file() else sorted(p for p in path.rglob('*') if p.is_file())
    f = r.choice(files); b = bytearray(f.read_bytes())
    for _ in range(r.choice([1,1,2,5,30])):
        i = r.randrange(max(1, min(len(b), r.choice([200, 5000, len(b)+1])))); k = r.choice([1,2,4,8,100])
        how = r.choice(['flip','blank','ones','cut','insert','copy','drop','number'])
        if how=='flip' and i<len(b): b[i] ^= 1<<r.randrange(8)
        elif how in ('blank','ones'): b[i:i+k] = (b'\0' if how=='blank' else b'\xff')*len(b[i:i+k])
        elif how=='cut' and r.random()<.2: del b[i:]
        elif how=='insert': b[i:i] = r.randbytes(k)
        elif how=='copy': j = r.randrange(max(1, len(b))); b[i:i+k] = b[j:j+k]
        elif how=='drop': del b[i:i+k]
        elif how=='number': b[i:i+4] = r.choice([0,1,2**31-1,2**32-1,255,65536]).to_bytes(4, r.choice(['big','little']))
    if f!=path and r.random()<.1: f.unlink()
    else: f.write_bytes(b)

ODD = [None,'', 'x', 'days since yesterday','months since 1990-01','hours since 0000-00-00','seconds since 1970-01-01','days since 999999-01-01', 'noleap','360_day','moon','time_bnds','lat_bnds','lat','gone','degrees_east','degrees_north','radians','m', 0, 1, -1, 1e30, -999., 32767, float('nan'), float('inf'), [1,2], [2,1], [1.,2.,3.], np.int8(-1), np.array([], 'f4'), 'Y','X','T','latitude','time']
NAMES = ['units','calendar','bounds','climatology','standard_name','axis','long_name','_FillValue','missing_value','valid_range','valid_min','valid_max','scale_factor','add_offset','cell_methods','coordinates','_Unsigned','dtype']

def structure_of(path, r):
    "Other attributes, names, values or variables, written as the library lets one."
    if not path.is_file() or path.suffix!='.nc': return bytes_of(path, r)
    d = netCDF4.Dataset(path, 'a')
    d.set_auto_maskandscale(False)
    for _ in range(r.choice([1,1,2,4])):
        v = r.choice(list(d.variables.values())); how = r.choice(['attribute']*5+['value','order','rename','strip'])
        try:
            if how=='attribute': v.setncattr(r.choice(NAMES), r.choice(ODD))
            elif how=='strip' and v.ncattrs(): v.delncattr(r.choice(v.ncattrs()))
            elif how=='value':
                flat = v[:].ravel()
                flat[r.randrange(flat.size)] = r.choice([0,-1,1e3,-1000,127,90.0001,1e20,float('nan')])
                v[:] = flat.reshape(v.shape)
            elif how=='order': v[:] = v[:][::-1]
            elif how=='rename':
                r.choice([d.renameVariable, d.renameDimension])(r.choice([*d.variables,*d.dimensions]),
                                                                r.choice(['time','lat','lon','y','x','t','expver','z']))
        except (RuntimeError, OSError, ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError): pass # not writable: no damage
    try: d.close()
    except RuntimeError: pass # the library finds that it cannot write what it was told

def case(reader, number, folder):
    "Write the sound file, damage it as this number says, read it: None where it reads, else what was said."
    write,read = READERS[reader]
    r = random.Random(f'{reader} {number}')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(); path = write(folder)
    (bytes_of if r.random()<.6 else structure_of)(path, r)
    try: read(path); return None
    except MRTLError as e: return str(e)

def work(reader, start, until, folder, log):
    "Cases one after another; a line for each in the log before it is read and after."
    def late(*_): raise TimeoutError(f'longer than {LIMIT} s')
    resource.setrlimit(resource.RLIMIT_AS, (6*2**30, 6*2**30)); signal.signal(signal.SIGPROF, late)
    with open(log, 'a', buffering=1) as out:
        for n in range(start, 10**9):
            if time.process_time()>until: return
            # the second is not handled: it ends a C library too
            print(json.dumps(['begin', n]), file=out)
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
            signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT+5)
            try: said = case(reader, n, folder); end = ['read' if said is None else 'named', n]
            except BaseException as e:
                end = ['raw', n, f'{type(e).__name__}: {e}'[:300], traceback.format_exc()[-1500:]]
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            print(json.dumps(end), file=out)

def watched(command, log):
    "Exit code of a worker; killed where its log stands still."
    p = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while p.poll() is None:
        time.sleep(.5)
        if time.time()-log.stat().st_mtime>STILL: p.kill(); p.wait()
    return p.returncode

def used(): u = resource.getrusage(resource.RUSAGE_CHILDREN); return u.ru_utime+u.ru_stime

def run(reader, minutes, start, folder):
    "Let a process work until its minutes of the processor are used up, and start another where it dies."
    until,log,found = used()+60*minutes,folder/'log',[]; log.unlink(missing_ok=True); log.touch(); counts = Counter()
    while used()<until-1:
        code = watched([sys.executable, __file__, '--work', reader, str(start), str(until-used()),
                        str(folder/'files'), str(log)], log)
        lines = [json.loads(l) for l in log.read_text().splitlines()]
        counts = Counter(l[0] for l in lines if l[0]!='begin')
        found = [l for l in lines if l[0]=='raw']+[l for l in found if l[0]=='died']
        if not lines:
            if code: raise SystemExit(f'the worker of {reader} does not start')
            break
        if lines[-1][0]=='begin':
            found.append(['died', lines[-1][1],
                          f'exit code {code}' if code not in (-signal.SIGKILL,-signal.SIGVTALRM)
                          else f'hangs in a library, longer than {LIMIT} s'])
        elif not code: break
        start = lines[-1][1]+1
    died = [f for f in found if f[0]=='died']
    print(f"{reader}: {sum(counts.values())+len(died)} files, {counts['read']} read, {counts['named']} named, "
          f"{counts['raw']} raw, {len(died)} died", flush=True)
    kinds = {}
    for f in found:
        kinds.setdefault(f[2].split(':')[0]+(f[3].strip().splitlines()[-3].strip() if len(f)>3 else ''), []).append(f)
    for k,v in kinds.items(): print(f"  {len(v)} x {v[0][2]} (case {v[0][1]})\n      {k}", flush=True)
    return len(found)

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--reader', default='all', choices=['all',*READERS])
    p.add_argument('--minutes', type=float, default=4.)
    p.add_argument('--start', type=int, default=0, help='number of the first case')
    p.add_argument('--case', type=int, help='this case only, with its traceback')
    p.add_argument('--work', nargs=5, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.work: return work(a.work[0], int(a.work[1]), float(a.work[2]), Path(a.work[3]), a.work[4])
    readers = list(READERS) if a.reader=='all' else [a.reader]
    with tempfile.TemporaryDirectory() as folder:
        if a.case is not None: return print(case(readers[0], a.case, Path(folder)/'files') or 'it was read')
        return int(sum([run(r, a.minutes/len(readers), a.start, Path(folder)) for r in readers])>0)

if __name__=='__main__': sys.exit(main())
