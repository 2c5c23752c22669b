#!/usr/bin/env python
"""Damage every kind of file that mrtl reads, in many ways, and count how its reader takes it.

    python tools/damaged_files.py --n 1000 --seed 0 --out damaged.csv [--kinds model_sum,checkpoint] [--show raw]

Each file is read in a process of its own, forked from one that has imported everything, with 10 s of time and 2 GB
of memory beyond what the
parent has. How it ends: `read` (and all values are finite or in the declared range), `odd` (read, but a value is
neither), `named` (an MRTLError),
`raw` (any other exception), `crash` (a signal), `hang` (over the time). Nothing but read and named is right. The
same seed makes the same files.
"""
import argparse, copy, gzip, io, json, os, resource, select, shutil, signal, sys, tempfile, time, traceback, warnings, zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import pandas as pd
import torch
import xarray as xr
from safetensors.torch import save
from mrtl.basketball.plays import read_play_by_play, tiny_plays
from mrtl.basketball.tracking import read_games, tiny_game
from mrtl.climate.fields import open_fields
from mrtl.climate.model import load_preps, save_preps
from mrtl.climate.prepare import ClimatePrep
from mrtl.climate.rain import open_rain
from mrtl.cli import main
from mrtl.core import MRTLError
from mrtl.designs import FieldDesign
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.runfiles import read_config, read_factors, read_history, read_metrics, read_netcdf, read_predictions
from mrtl.runs import read_run, report_run, write_netcdf
from mrtl.store import _digest, load_tensors
from mrtl.terms.spec import Term
from mrtl.training import Callback

SECONDS,MEMORY = 10,2*2**30

# ---- small good files, one a kind

RNG = np.random.default_rng(0)
X = xr.DataArray(RNG.normal(size=(40, 2, 4, 6)), dims=('time','variable','lat','lon'),
                 coords=dict(time=pd.date_range('1950-01', periods=40, freq='MS'),
    variable=['sst','slp'], lat=np.arange(-15., 25, 10), lon=np.arange(185., 245, 10)))
X[:, 1, 2, 2:4] = np.nan
Y = 5*X[:, 0].mean(('lat','lon'))+.1*RNG.normal(size=40)
TWO = xr.DataArray(np.stack([Y, X[:, 0, 0, 0]], 1), dims=('time','output'),
                   coords=dict(time=X.time, output=['IA','OH']))
TABLE = pd.DataFrame(dict(player=RNG.integers(5, size=260), x=RNG.uniform(0, 10, 260), y=RNG.uniform(0, 8, 260),
                          x1=RNG.uniform(0, 4, 260), y1=RNG.uniform(0, 4, 260)))
LABEL = (RNG.random(260)<1/(1+np.exp(TABLE.player+.3*TABLE.y-4))).astype(int).values
EVENTS = EventDesign.from_table(TABLE, dict(player='player', court=('x','y'), defender=[('x1','y1')]),
                                dict(court=Grid((8, 10)), defender=Grid((4, 4))), dict(player=True))
R,C = MRTLRegressor,MRTLClassifier
MODELS = dict(
    gradient=(R(method='sgd', rank=2, max_epochs=2), X, Y), evidence=(R(method='evidence', rank=2), X, Y),
    evidence_two=(R(method='evidence', rank=2, window=1), X, TWO),
    classifier=(C(rank=2, max_epochs=2, main_effects=True, optimizer='adam'), EVENTS, LABEL),
    sum=(C(terms=['player', ('player','court'), Term(('court','defender'), rank=2)]), EVENTS, LABEL),
    sum_of_fields=(R(terms=[('variable','space')], rank=2), X, Y))
BIG = np.tile(np.nan_to_num(X.values), (6, 1, 1, 1))+.1*RNG.normal(size=(240, 2, 4, 6))
BIG_Y = BIG[:, 0].mean((1, 2))*5

class _Stop(Callback):
    def after_epoch(self, trainer):
        if (trainer.stage, trainer.epoch)==('low', 1): os.kill(os.getpid(), signal.SIGINT)

def _fit_on(path, callbacks=()):
    return R(rank=2, max_epochs=3, patience=3, method='sgd', optimizer='adam', checkpoint=str(path)).fit(BIG,
            BIG_Y, callbacks=callbacks)

def make_sources(folder):
    "One good file of each kind."
    folder = Path(folder)
    for k,(m,x,y) in MODELS.items(): m.fit(x, y).save(folder/f'model_{k}.mrtl')
    try: _fit_on(folder/'checkpoint.mrtl', [_Stop()])
    except KeyboardInterrupt: pass
    months = pd.date_range('1950-01', periods=60, freq='MS')
    grid = dict(time=months, lat=np.arange(-15., 25, 10), lon=np.arange(185., 245, 10))
    sst = xr.DataArray(RNG.normal(290, 2, size=(60, 4, 6)), coords=grid, dims=('time','lat','lon'), name='sst',
                       attrs=dict(units='K', valid_range=[200., 400.]))
    rain = xr.DataArray(RNG.gamma(2, 30, size=(60, 4, 6)), coords=grid, dims=('time','lat','lon'), name='precip',
                        attrs=dict(units='mm'))
    sst.to_netcdf(folder/'fields.nc')
    sst.to_netcdf(folder/'fields_compressed.nc', encoding=dict(sst=dict(zlib=True, shuffle=True, fletcher32=True)))
    sst.to_netcdf(folder/'fields_classic.nc', format='NETCDF3_64BIT'); rain.to_netcdf(folder/'rain.nc')
    with zipfile.ZipFile(folder/'fields.zip', 'w', zipfile.ZIP_DEFLATED) as z: z.write(folder/'fields.nc', 'sst.nc')
    table = xr.Dataset(dict(precip=(('division','time'), RNG.gamma(2, 3, size=(2, 60)), dict(units='inch'))),
                       dict(division=['0201','0202'], time=months, state=('division', ['AZ','AZ'])))
    table.to_netcdf(folder/'divisions.nc')
    text = ''.join(f"{d}01{y}"+''.join(f'{v:7.2f}' for v in RNG.gamma(2, 1, 12))+'\n' for d in ('0201','0202')
                   for y in range(1950, 1955))
    (folder/'climdiv-pcpndv.txt').write_text(text)
    game = json.dumps(tiny_game())
    (folder/'game.json').write_text(game)
    (folder/'game.json.gz').write_bytes(gzip.compress(game.encode()))
    try:
        import py7zr
        with py7zr.SevenZipFile(folder/'game.7z', 'w') as z: z.writestr(game, '0000000007.json')
    except ImportError: pass
    pd.concat([tiny_plays(PCTIMESTRING=f'{m}:{10+m}', PLAYER1_ID=m%5+1)
               for m in range(12)]).to_csv(folder/'plays.csv', index=False)
    with open(os.devnull, 'w') as nowhere:
        out,sys.stdout = sys.stdout,nowhere
        main(['demo', '--out', str(folder/'run'), '--n', '300'])
        sys.stdout = out
    for f in 'config.json metrics.json predictions.csv history.csv compare.csv factors.nc truth.nc'.split():
        shutil.copy(folder/'run'/f, folder/f)
    R.load(folder/'run'/'model.mrtl').coef_.to_dataset(name='coef').to_netcdf(folder/'coefficients.nc')
    R.load(folder/'model_evidence.mrtl').history_.to_csv(folder/'ladder.csv', index=False)
    write_netcdf(folder/'terms.nc', C.load(folder/'model_sum.mrtl').factors_)
    prep = lambda x: ClimatePrep('linear').fit(x)
    save_preps(folder, SimpleNamespace(prep_x=prep(xr.concat([sst],
            pd.Index(['sst'], name='variable')).transpose('time','variable','lat','lon')),
                                       prep_y=prep(sst.mean(('lat','lon'))),
                                       config=dict(units='sst: K', target_units='mm')))

# ---- readers; each looks at what it read

def finite(v):
    "Are these numbers, all finite?"
    v = np.asarray(v); return v.dtype.kind in 'iufb' and bool(np.isfinite(v.astype(float)).all())

def _model(name, path):
    kind,x,y = MODELS[name]; m = type(kind).load(path)
    m.factors_; m.coef_; repr(m)
    return finite(m.predict_proba(x) if isinstance(m, C) else m.predict(x)) and (not name.startswith('evidence')
            or finite(m.predict(x, return_std=True)[1]))

def _checkpoint(path): return finite(_fit_on(path).predict(BIG[:5]))

def _fields(path):
    fields = open_fields(path); values = [f.load() for f in fields]
    return all(np.isinf(v).sum()==0 and (not np.isfinite(v).any() or 'valid_range' not in v.attrs
                                         or 200<=float(v.min())<=float(v.max())<=400) for v in values)

def _rain(path): v = open_rain(path).load(); return v.dtype.kind in 'iuf' and not np.isinf(v).any()

def _games(path):
    f = read_games(path).frames
    return all(not np.isinf(v).any() for v in f.data_vars.values() if v.dtype.kind=='f')

def _plays(path):
    p = read_play_by_play(path).plays; sure = p[p.doubt==''] # the others are kept, and marked
    return finite(sure.time) and finite(sure.quarter)

def _folder(file, path):
    "The run's folder with this file in it: its report, made whole."
    run = Path(path).parent/'run'; shutil.copy(path, run/file)
    report_run(read_run(run)); return (run/'report.html').stat().st_size>10_000

def _of(reader, path):
    reader(path.parent if path.name in ('config.json','metrics.json','predictions.csv') else path)
    return True

def _map(reader, path):
    found = reader(path)
    return all(not np.isinf(v).any() for ds in (found.values() if isinstance(found, dict) else [found])
               for v in ds.data_vars.values())

def _prep(path): (x,y),units = load_preps(path.parent); return x.t0 is not None and len(units)==2

def _again(path): c = read_config(path.parent, again=True); return c['n']>0

KINDS = {f'model_{k}.mrtl': partial(_model, k) for k in MODELS} | {'checkpoint.mrtl': _checkpoint, 'prep.mrtl': _prep,
    'config.json': _again, 'metrics.json': partial(_of, read_metrics),
    'predictions.csv': partial(_of, read_predictions), 'history.csv': partial(_of, read_history),
    'ladder.csv': partial(_of, read_history),
    'compare.csv': partial(_of, partial(read_history, method=True)), 'factors.nc': partial(_map, read_factors),
    'truth.nc': partial(_map, partial(read_factors, bias=False)), 'terms.nc': partial(_map, read_factors),
    'coefficients.nc': partial(_map, read_netcdf),
    'report config.json': partial(_folder, 'config.json'), 'report metrics.json': partial(_folder, 'metrics.json'),
    'report predictions.csv': partial(_folder, 'predictions.csv'),
    'report history.csv': partial(_folder, 'history.csv'), 'report factors.nc': partial(_folder, 'factors.nc'),
    'report truth.nc': partial(_folder, 'truth.nc'),
    'fields.nc': _fields, 'fields_compressed.nc': _fields, 'fields_classic.nc': _fields, 'fields.zip': _fields,
    'rain.nc': _rain, 'divisions.nc': _rain, 'climdiv-pcpndv.txt': _rain,
    'game.json': _games, 'game.json.gz': _games, 'game.7z': _games, 'plays.csv': _plays}

# ---- ways to damage bytes

def flip(b, rng, n=1):
    b = bytearray(b)
    for at in rng.integers(len(b), size=n): b[at] ^= 1<<int(rng.integers(8))
    return bytes(b)
def cut(b, rng): return b[:int(rng.integers(len(b)))]
def insert(b, rng): at = int(rng.integers(len(b))); return b[:at]+rng.bytes(int(rng.integers(1, 200)))+b[at:]
def delete(b, rng): at = int(rng.integers(len(b))); return b[:at]+b[at+int(rng.integers(1, 200)):]
def swap(b, rng):
    n = max(1, len(b)//8); i,j = sorted(int(v) for v in rng.integers(max(1, len(b)-n), size=2))
    return b[:i]+b[j:j+n]+b[i+n:j]+b[i:i+n]+b[j+n:] if j>=i+n else b[:i]+b[i:i+n][::-1]+b[i+n:]
def zeros(b, rng):
    at = int(rng.integers(len(b)))
    n = int(rng.integers(1, max(2, len(b)//4)))
    return b[:at]+bytes(len(b[at:at+n]))+b[at+n:]
def repeat(b, rng):
    at = int(rng.integers(len(b)))
    n = int(rng.integers(1, max(2, len(b)//4)))
    return b[:at]+b[at:at+n]*2+b[at+n:]
def head(b, rng): n = min(len(b), 64); return flip(b[:n], rng, 4)+b[n:]
def empty(b, rng): return b''
def noise(b, rng): return rng.bytes(min(len(b), 4096))
BYTES = dict(flip=flip, flips=partial(flip, n=40), cut=cut, insert=insert, delete=delete, swap=swap, zeros=zeros,
             repeat=repeat, head=head, empty=empty, noise=noise)

# ---- ways to damage JSON

def nested(depth):
    v = 0
    for _ in range(depth): v = [v]
    return v
ODD = [None, True, False, -1, 0, 1, 2.5, 10**12, 10**40, -10**12, 1e308, float('nan'), float('inf'), -float('inf'),
       '', 'x', 'x'*100_000, '\x00\ud800', '=1+1', [], {}, [[]], {'': 0}, [None], nested(40), nested(200)]

def places(v, at=()):
    "Every place in a JSON value."
    out = [at] if at else []
    for k,w in (v.items() if isinstance(v, dict) else enumerate(v) if isinstance(v, list) else ()):
        out += places(w, at+(k,))
    return out

def edit_json(v, rng, times=1):
    "The value with some places changed, and how."
    v,said = copy.deepcopy(v),[]
    for _ in range(times):
        every = places(v)
        if not every: break
        shallow = [p for p in every if len(p)<=3]; every = shallow if rng.random()<.5 and shallow else every
        at = every[int(rng.integers(len(every)))]; inside = v
        for k in at[:-1]: inside = inside[k]
        how = rng.choice(['odd','odd','odd','delete','double','more'])
        if how=='odd':
            new = ODD[int(rng.integers(len(ODD)))]
            inside[at[-1]] = copy.deepcopy(new)
            said.append(f"{'.'.join(map(str, at))}={repr(new)[:20]}")
        elif how=='delete': del inside[at[-1]]; said.append(f"del {'.'.join(map(str, at))}")
        elif isinstance(inside, list):
            inside.append(copy.deepcopy(inside[at[-1]]))
            said.append(f"double {'.'.join(map(str, at))}")
        else: inside[f'{at[-1]}2'] = inside[at[-1]]; said.append(f"more {'.'.join(map(str, at))}")
    return v,', '.join(said)

def json_edits(b, rng):
    v,said = edit_json(json.loads(b), rng, int(rng.choice([1, 1, 1, 3]))); return json.dumps(v).encode(),said

def json_text(b, rng):
    "Text that is JSON of another kind, or no JSON."
    every = [b'[]', b'{}', b'null', b'3', b'""', b'['*3000, b'{"a":'*3000, b'['*3000+b']'*3000, b'[NaN]',
             b'\xff\xfe', b'{"command": "demo"', b'1'*5000, b[:-2]+b'['*5000, b.replace(b'"', b"'"),
             b.replace(b':', b': -'), b.decode().encode('utf-16')]
    i = int(rng.integers(len(every))); return every[i],f'text {i}'

# ---- ways to damage files of tensors, signed again

def signed(tensors, meta, sign=True):
    text = json.dumps(meta); return save(tensors, dict(mrtl=text, sha256=_digest(tensors, text) if sign else '0'*64))

def tensor_meta(path, rng):
    T,meta = load_tensors(path); meta,said = edit_json(meta, rng, int(rng.choice([1, 1, 3])))
    return signed(T, meta),said

def tensor_values(path, rng):
    "One tensor other than its metadata say."
    T,meta = load_tensors(path)
    T = {k: v.clone() for k,v in T.items()}
    k = sorted(T)[int(rng.integers(len(T)))]
    t = T[k]; number = t.is_floating_point()
    how = str(rng.choice(['drop','rename','more','flat','crop','grow','nan','inf','huge','negative','zero','type','rank','empty','other']))
    some = t.flatten()[:1].clone() if t.numel() else t.new_zeros(1)
    if how=='drop': del T[k]
    elif how=='rename': T[k+'x'] = T.pop(k)
    elif how=='more': T['extra'] = some
    elif how=='flat': T[k] = t.flatten()
    elif how=='crop': T[k] = t[:-1].contiguous() if t.ndim else t
    elif how=='grow': T[k] = torch.cat([t, t]) if t.ndim else t.expand(3).contiguous()
    elif how in ('nan','inf') and number and t.numel(): t.view(-1)[int(rng.integers(t.numel()))] = float(how)
    elif how=='huge': T[k] = t*(1e300 if number else 2**40)
    elif how=='negative': T[k] = -t-1
    elif how=='zero': T[k] = t*0
    elif how=='type':
        T[k] = t.to([torch.float32, torch.int64, torch.bool, torch.int32, torch.float16,
                     torch.uint8][int(rng.integers(6))])
    elif how=='rank': T[k] = t[None]
    elif how=='empty': T[k] = t.new_zeros((0, *t.shape[1:]))
    elif how=='other': o = sorted(T)[int(rng.integers(len(T)))]; T[k] = T[o].clone()
    if how=='type' and T[k].dtype==torch.float16:
        return save(T, dict(mrtl=json.dumps(meta), sha256='0'*64)),f'{how} {k}'
    return signed(T, meta),f'{how} {k}'

def tensor_header(path, rng):
    "The header rewritten by hand."
    b = Path(path).read_bytes()
    n = int.from_bytes(b[:8], 'little'); h = json.loads(b[8:8+n])
    keys = [k for k in h if k!='__metadata__']
    k = keys[int(rng.integers(len(keys)))]
    every = [('size', lambda: h[k].update(shape=[10**12])), ('negative', lambda: h[k].update(shape=[-1])),
             ('type', lambda: h[k].update(dtype='BF16')), ('offset', lambda: h[k].update(data_offsets=[0, 10**15])),
             ('none', lambda: h.update({k: None})), ('meta', lambda: h.update(__metadata__=3)),
             ('no meta', lambda: h.pop('__metadata__')), ('no sha', lambda: h['__metadata__'].pop('sha256')),
             ('long name', lambda: h.update({'y'*5000: h.pop(k)})), ('float', lambda: h[k].update(shape=[1.5])),
             ('deep', lambda: h.update(zz=nested(100)))]
    what,change = every[int(rng.integers(len(every)))]; change(); text = json.dumps(h).encode()
    size = len(text) if rng.random()<.8 else int(rng.choice([0, 1, 2**63, 10**9]))
    return size.to_bytes(8, 'little')+text+b[8+n:],f'{what} {k}'

# ---- ways to damage tables and text

CELLS = ['', 'x', 'nan', 'inf', '-1', '1e400', '1'*400, 'x'*10_000, '"', "'", '=1+1', '\x00', '2.5',
         '-', 'None', '1,5', '٣']
def table_edit(b, rng):
    lines = [l.split(',') for l in b.decode().splitlines()]
    i,j = int(rng.integers(1, len(lines))),int(rng.integers(len(lines[0])))
    how = str(rng.choice(['cell','cell','cell','column','name','row','half','short','long','headless','only head','quote','swap']))
    if how=='cell': lines[i][j] = CELLS[int(rng.integers(len(CELLS)))]
    elif how=='column': lines = [l[:j]+l[j+1:] for l in lines]
    elif how=='name': lines[0][j] = 'other'
    elif how=='row': lines.insert(i, lines[i])
    elif how=='half': lines = lines[:len(lines)//2]
    elif how=='short': lines[i] = lines[i][:j]
    elif how=='long': lines[i] = lines[i]*3
    elif how=='headless': lines = lines[1:]
    elif how=='only head': lines = lines[:1]
    elif how=='quote': lines[i][j] = '"'+lines[i][j]
    elif how=='swap': lines[0][j],lines[0][0] = lines[0][0],lines[0][j]
    return ('\n'.join(','.join(l) for l in lines)+'\n').encode('utf-8', 'replace'),f'{how} {i},{j}'

def line_edit(b, rng):
    lines = b.decode().splitlines()
    i = int(rng.integers(len(lines)))
    how = str(rng.choice(['drop','double','short','long','word','swap','digits','minus']))
    if how=='drop': del lines[i]
    elif how=='double': lines.insert(i, lines[i])
    elif how=='short': lines[i] = lines[i][:int(rng.integers(len(lines[i])))]
    elif how=='long': lines[i] *= 3
    elif how=='word':
        at = int(rng.integers(len(lines[i])))
        lines[i] = lines[i][:at]+str(rng.choice(['x','nan','inf','1e9','٣','-']))+lines[i][at:]
    elif how=='swap': lines[i],lines[0] = lines[0],lines[i]
    elif how=='digits': lines[i] = '9'*len(lines[i])
    elif how=='minus': lines[i] = lines[i].replace('.', '-')
    return ('\n'.join(lines)+'\n').encode('utf-8', 'replace'),f'{how} {i}'

# ---- ways to damage netCDF by its own library

def netcdf_edit(path, rng):
    import netCDF4
    tree = 'terms' in path.name
    ds = xr.load_dataset(path, decode_cf=False, group='player:court'.replace(':', '~') if tree else None)
    k = list(ds.data_vars)[int(rng.integers(len(ds.data_vars)))]
    d = list(ds.dims)[int(rng.integers(len(ds.dims)))]
    c = list(ds.coords)[int(rng.integers(len(ds.coords)))]
    how = str(rng.choice(['drop','rename','nan','inf','huge','text','transpose','no coord','coord nan','coord huge','coord text','reverse','double','units','one','attr','whole']))
    number = ds[k].dtype.kind=='f'; v = ds[k].values.copy()
    if how=='drop': ds = ds.drop_vars(k)
    elif how=='rename': ds = ds.rename({d: 'other'})
    elif how in ('nan','inf') and number and v.size:
        v.flat[int(rng.integers(v.size))] = float(how)
        ds[k] = (ds[k].dims, v, ds[k].attrs)
    elif how=='huge' and number: ds[k] = (ds[k].dims, v*1e30, ds[k].attrs)
    elif how=='text': ds[k] = (ds[k].dims, v.astype(str).astype(object))
    elif how=='transpose': ds[k] = ds[k].transpose()
    elif how=='no coord': ds = ds.drop_vars(c)
    elif how.startswith('coord') and ds[c].dtype.kind in 'if':
        x = ds[c].values.astype(float)
        x.flat[0] = dict(nan=np.nan, huge=1e30).get(how[6:], 0.)
        ds = ds.assign_coords({c: (ds[c].dims, x.astype(str).astype(object) if how=='coord text' else x, ds[c].attrs)})
    elif how=='reverse': ds = ds.isel({d: slice(None, None, -1)})
    elif how=='double': ds = xr.concat([ds, ds], d, data_vars='minimal', coords='minimal', compat='override')
    elif how=='units':
        ds[k].attrs['units'] = ds[c].attrs['units'] = str(rng.choice(['', 'furlong', 'days since never',
                'days since 1950-13-99', '1'*300]))
    elif how=='one': ds = ds.isel({d: slice(0, int(rng.integers(2)))})
    elif how=='attr':
        ds[k].attrs |= dict([[('_FillValue', 0.), ('scale_factor', 'x'), ('add_offset', 1e30),
                              ('missing_value', [1., 2.]), ('valid_range', [1.]), ('coordinates', 'a b'),
                              ('calendar', 'x')][int(rng.integers(7))]])
    elif how=='whole' and number: ds[k] = (ds[k].dims, np.nan_to_num(v).astype('i4'), ds[k].attrs)
    with tempfile.TemporaryDirectory() as folder:
        f = Path(folder)/'x.nc'
        try: ds.to_netcdf(f, engine='netcdf4', group='player~court' if tree else None)
        except (ValueError, TypeError, RuntimeError, KeyError, AttributeError, OverflowError): return None,f'{how} {k}' # netCDF has no such file
        return f.read_bytes(),f'{how} {k},{d},{c}'

def inside(b, rng, open_, close, damage):
    "What lies in an archive, damaged before it was packed."
    inner,said = damage(open_(b), rng); return close(inner),f'inside: {said}'

def gz(b): return gzip.compress(b)
def zipped(b):
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('sst.nc', b)
    return f.getvalue()
def of_zip(b):
    with zipfile.ZipFile(io.BytesIO(b)) as z: return z.read('sst.nc')
def seven(b):
    import py7zr
    f = io.BytesIO()
    with py7zr.SevenZipFile(f, 'w') as z: z.writestr(b, '0000000007.json')
    return f.getvalue()

def damaged(name, path, rng):
    "Bytes of a damaged copy, and how it was damaged."
    b = path.read_bytes(); raw = lambda b,rng: (lambda k: (BYTES[k](b, rng), k))(str(rng.choice(list(BYTES))))
    ways = [raw]
    if name.endswith('.mrtl'):
        ways = [raw, lambda b,r: tensor_meta(path, r), lambda b,r: tensor_meta(path, r),
                lambda b,r: tensor_values(path, r), lambda b,r: tensor_values(path, r),
                lambda b,r: tensor_header(path, r)]
    elif name.endswith('.json'): ways = [raw, json_edits, json_edits, json_edits, json_text]
    elif name.endswith('.csv'): ways = [raw, table_edit, table_edit]
    elif name.endswith('.txt'): ways = [raw, line_edit]
    elif name.endswith('.nc'): ways = [raw, raw, lambda b,r: netcdf_edit(path, r)]
    elif name.endswith('.json.gz'):
        ways = [raw, partial(inside, open_=gzip.decompress, close=gz,
                             damage=lambda b,r: json_edits(b, r) if r.random()<.7 else json_text(b, r))]
    elif name.endswith('.zip'): ways = [raw, partial(inside, open_=of_zip, close=zipped, damage=raw)]
    elif name.endswith('.7z'):
        ways = [raw, partial(inside, open_=lambda b: json.dumps(tiny_game()).encode(), close=seven, damage=json_edits)]
    return ways[int(rng.integers(len(ways)))](b, rng)

# ---- one file, in a process of its own

def _in_child(reader, path, write):
    "Read, and tell how it ended."
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in 0,1,2: os.dup2(devnull, fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    now = int(Path('/proc/self/statm').read_text().split()[0])*resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now+MEMORY, now+MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter('ignore')
    try: end = ('read' if reader(path) else 'odd','','')
    except MRTLError as e: end = ('named',type(e).__name__,str(e)[:2000])
    except BaseException as e:
        where = [f'{Path(f.filename).name}:{f.lineno}'
                 for f in traceback.extract_tb(e.__traceback__) if 'mrtl' in f.filename]
        end = ('raw',type(e).__name__,f"{str(e)[:200]} [{' '.join(where[-3:])}]")
    os.write(write, json.dumps(end).encode('utf-8', 'replace')[:60_000]); os._exit(0)

def outcome(reader, path):
    "How a file is taken: (outcome, error, text, seconds)."
    start = time.perf_counter(); read,write = os.pipe(); pid = os.fork()
    if not pid:
        os.close(read); os.setsid(); _in_child(reader, path, write)
    os.close(write); text = b''; hung = False
    while True:
        left = SECONDS-(time.perf_counter()-start)
        if left<=0: hung = True; break
        if not select.select([read], [], [], left)[0]: continue
        piece = os.read(read, 65536)
        if not piece: break
        text += piece
    if hung: os.kill(pid, signal.SIGKILL)
    os.close(read); _,status = os.waitpid(pid, 0); seconds = round(time.perf_counter()-start, 3)
    if hung: return ('hang','','',seconds)
    if os.WIFSIGNALED(status): return ('crash',signal.Signals(os.WTERMSIG(status)).name,'',seconds)
    return (*json.loads(text), seconds) if text else ('crash','exit',str(status),seconds)

def run(n, seed, kinds=None, show=(), out=None, keep=None):
    "Damage n files and count how they are taken."
    rows,chosen = [],[k for k in KINDS if not kinds or any(k==w or k.startswith(w) for w in kinds)]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder); good = folder/'good'; good.mkdir(); make_sources(good)
        chosen = [k for k in chosen if (good/k.split()[-1]).exists()]
        for k in chosen:
            place = folder/'check'; shutil.rmtree(place, ignore_errors=True); shutil.copytree(good, place)
            if (end := outcome(KINDS[k], place/k.split()[-1]))[0]!='read':
                raise SystemExit(f'the good {k} is not read: {end}')
        place = folder/'damaged'
        for i in range(n):
            kind = chosen[i%len(chosen)]
            rng = np.random.default_rng([seed, i])
            name = kind.split()[-1]; file = place/name
            for _ in range(20):
                b,how = damaged(kind, good/name, rng)
                if b is not None: break
            else: continue
            if i<1 or kind.startswith('report'): shutil.rmtree(place, ignore_errors=True); shutil.copytree(good, place)
            place.mkdir(exist_ok=True); file.write_bytes(b)
            end = outcome(KINDS[kind], file); shutil.copy(good/name, file)
            rows.append(dict(number=i, kind=kind, damage=how[:80], outcome=end[0], error=end[1], says=end[2][:300],
                             names_file=name in end[2] if end[0]=='named' else '', seconds=end[3]))
            if end[0] in show: print(f"{i} {kind} | {how[:60]} | {end[0]} {end[1]}: {end[2][:240]}", flush=True)
            if keep and end[0] not in ('read','named'):
                Path(keep).mkdir(exist_ok=True)
                (Path(keep)/f'{i}-{name}').write_bytes(b)
    table = pd.DataFrame(rows)
    if out: table.to_csv(out, index=False)
    return table

if __name__=='__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out')
    parser.add_argument('--keep', help='folder for the files that were taken wrongly')
    parser.add_argument('--kinds', help='names or their beginnings, joined by commas')
    parser.add_argument('--show', default='odd,raw,crash,hang')
    a = parser.parse_args(); start = time.perf_counter(); torch.set_num_threads(1)
    t = run(a.n, a.seed, a.kinds and a.kinds.split(','), a.show.split(','), a.out, a.keep)
    print(t.groupby(['kind','outcome']).size().unstack(fill_value=0).to_string())
    print(dict(Counter(t.outcome)), f'{time.perf_counter()-start:.0f} s')
    sys.exit(int((~t.outcome.isin(['read','named'])).any()))
