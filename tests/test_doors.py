"""Files that were damaged, edited, or made by somebody else are refused by name; nothing is built, and no memory
taken, before they are checked."""
import copy, json, math, os, resource, shutil, signal, subprocess, sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from safetensors.torch import save
from mrtl.cli import main
from mrtl.climate.model import save_preps
from mrtl.core import DataError, FormatError, MRTLError, enough_memory, parse_json
from mrtl.doors import checked, read_table
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.layouts import LAYOUTS
from mrtl.nodes import Nodes
from mrtl.runfiles import read_preps
from mrtl.runs import read_run
from mrtl.store import load_tensors, save_tensors, unpack_tensors
from mrtl.terms.spec import Term
from mrtl.training import Callback
from mrtl.ways import WAYS

RNG = np.random.default_rng(0)
X = xr.DataArray(RNG.normal(size=(40, 2, 4, 6)), dims=('time','variable','lat','lon'),
                 coords=dict(time=pd.date_range('1950-01', periods=40, freq='MS'), variable=['sst','slp'],
                             lat=np.arange(-15., 25, 10), lon=np.arange(185., 245, 10)))
X[:, 1, 2, 2:4] = np.nan
Y = 5*X[:, 0].mean(('lat','lon'))+.1*RNG.normal(size=40)
TWO = xr.DataArray(np.stack([Y, X[:, 1].mean(('lat','lon'))-Y], 1), dims=('time','output'),
                   coords=dict(time=X.time, output=['IA','OH']))
# so alike that their directions have a vote
ALIKE = TWO.copy(data=np.stack([Y, -Y+.3*Y.values.std()*np.random.default_rng(1).normal(size=40)], 1))
TABLE = pd.DataFrame(dict(player=RNG.integers(5, size=230), x=RNG.uniform(0, 10, 230), y=RNG.uniform(0, 8, 230),
                          d=RNG.uniform(0, 4, 230)))
LABEL = np.where(RNG.random(230)<.5, 'in', 'out')
EVENTS = EventDesign.from_table(TABLE, dict(player='player', court=('x','y')),
                                dict(court=Grid((8, 10))), dict(player=True))
CURVE = EventDesign.from_table(TABLE, dict(player='player', distance='d'),
                               dict(distance=Nodes(np.linspace(0, 4, 9))), dict(player=True))
R,C = MRTLRegressor,MRTLClassifier
MODELS = dict(gradient=(R(method='sgd', rank=2, max_epochs=2, optimizer='adam'), X, Y),
              outputs=(R(method='sgd', rank=2, max_epochs=2, optimizer='adam'), X, TWO),
              evidence=(R(method='evidence', rank=2), X, Y),
              evidence_two=(R(method='evidence', rank=2, window=1), X, ALIKE),
    classifier=(C(rank=2, max_epochs=2, main_effects=True, optimizer='adam', class_weight={'in': 1., 'out': 2.}),
                EVENTS, LABEL), sum=(C(terms=['player', Term(('player','court'), rank=2, smooth=.1, ridge=.1,
        schedule=[dict(court=(4,5)), dict(court=(8,10))])]), EVENTS, LABEL),
    curve=(C(terms=['player', Term('distance', smooth=.1, ridge=.1),
                    Term(('player','distance'), full=True, smooth=.1, ridge=.1)]), CURVE, LABEL),
    fields_sum=(R(terms=['variable', Term(('variable','space'), smooth=1., ridge=.1)], rank=2), X, TWO))

@pytest.fixture(scope='session')
def files(once, demo_run):
    "One model of each kind, and a finished demo."
    def make(folder):
        for k,(m,x,y) in MODELS.items(): m.fit(x, y).save(folder/f'{k}.mrtl')
        shutil.copytree(demo_run, folder/'run')
    return once('doors', make)

def load(name, path): return type(MODELS[name][0]).load(path)

# ---- good files are read, and give what they gave

@pytest.mark.parametrize('name', MODELS)
def test_good_models_are_read(files, name):
    m = load(name, files/f'{name}.mrtl'); _,x,_ = MODELS[name]
    assert np.isfinite(np.asarray(m.predict_proba(x) if isinstance(m, C) else m.predict(x))).all()
    tensors,meta = load_tensors(files/f'{name}.mrtl')
    rule = LAYOUTS[meta['way']]
    own = {k for k in tensors if not k.startswith('area.')}
    assert rule.tensors(meta['fit'], m.fitted_.modes, tensors).keys()==own and WAYS.keys()==LAYOUTS.keys()

# ---- models that were edited and signed again

def put(*at, to): # Puts a value at a place of the metadata
    def f(T, m):
        for k in at[:-1]: m = m[k]
        m[at[-1]] = to
    return f

def both(*at, to): # The same in the modes of data and weights
    return lambda T, m: [put('modes', where, *at, to=to)(T, m) for where in ('data','model')]

def drop(*at):
    def f(T, m):
        for k in at[:-1]: m = m[k]
        del m[at[-1]]
    return f

def swap(k, g): return lambda T, m: T.__setitem__(k, g(T[k]))
def gone(k): return lambda T, m: T.pop(k)
DEEP = json.loads('['*50+']'*50)
EDITED = [ # model, what was done, how, what is said
    ('gradient', 'no version', drop('format'), 'format is missing'),
    ('gradient', 'a newer version', put('format', to=99), 'newer mrtl'),
    ('gradient', 'an older version', put('format', to=1), 'older mrtl'),
    ('gradient', 'the version in words', put('format', to='3'), 'format must be a valid integer'),
    ('gradient', 'another class', put('kind', to='MRTLClassifier'), 'holds MRTLClassifier'),
    ('gradient', 'no class', drop('kind'), 'no model'),
    ('gradient', 'a class that is a list', put('kind', to=[1]*1000), 'not MRTLRegressor'),
    ('gradient', 'another way', put('way', to='evidence'), 'rank|fit|missing'),
    ('gradient', 'an unknown way', put('way', to='magic'), 'way must be'),
    ('evidence', 'evidence called a sum', put('way', to='terms'), 'is missing'),
    ('sum', 'a sum called gradients', put('way', to='sgd'), 'is missing'),
    ('gradient', 'no modes', put('modes', to=None), 'modes must be'),
    ('gradient', 'an empty list of modes', put('modes', 'model', to=[]), 'modes.model'),
    ('gradient', 'modes of a list', put('modes', 'data', 0, to=[]), 'modes.data.0'),
    ('gradient', '10^12 cells', put('modes', 'model', 1, 'size', to=10**12), 'size must be less'),
    ('gradient', 'a size below zero', put('modes', 'data', 0, 'size', to=-2), 'size must be greater'),
    ('gradient', 'a size that is true', put('modes', 'data', 0, 'size', to=True), 'valid integer'),
    ('gradient', 'a size of 2.0', put('modes', 'data', 0, 'size', to=2.), 'valid integer'),
    ('gradient', 'a grid of another shape', put('modes', 'model', 1, 'grid', 'shape', to=[6, 4]),
     'area.model.space has the shape'),
    ('gradient', 'a larger grid', put('modes', 'model', 1, 'grid', 'shape', to=[8, 6]),
     '24 entries, but a map of 48'),
    ('gradient', 'a grid of 10^9 x 10^9', put('modes', 'model', 1, 'grid', 'shape', to=[10**9, 10**9]),
     'a map of 1000000000000000000'),
    ('gradient', 'an extent upside down', both(1, 'grid', 'y', to=[20., -20.]), 'low to high'),
    ('gradient', 'an infinite extent', put('modes', 'data', 1, 'grid', 'y', to=[0., math.inf]), 'finite'),
    ('gradient', 'land everywhere', swap('area.data.space', lambda t: t*0), 'no valid cell'),
    ('gradient', 'negative area', swap('area.data.space', lambda t: -t), 'negative area'),
    ('gradient', 'no area', gone('area.data.space'), 'lacks the tensors area.data.space'),
    ('gradient', 'labels missing', put('modes', 'data', 0, 'labels', to=['sst']), 'but 1 labels'),
    ('gradient', 'a label twice', put('modes', 'data', 0, 'labels', to=['sst','sst']), 'two entries the same'),
    ('gradient', 'too many labels', put('modes', 'data', 0, 'labels', to=['a','b','c']), 'but 3 labels'),
    ('gradient', 'labels of lists', put('modes', 'data', 0, 'labels', to=[[1],[2]]), 'labels'),
    ('gradient', 'two modes of one name', put('modes', 'data', 0, 'name', to='space'), 'one name'),
    ('gradient', 'another mode in the weights', put('modes', 'model', 0, 'name', to='lead'),
     'other modes than the data'),
    ('gradient', 'data from elsewhere', put('modes', 'data', 1, 'grid', 'x', to=[0., 60.]), 'another place'),
    ('gradient', 'rank 10^9', put('fit', 'rank', to=10**9), 'metadata say (2, 1000000000)'),
    ('gradient', 'rank 0', put('fit', 'rank', to=0), 'rank must be greater'),
    ('gradient', 'rank 3 of 2', put('fit', 'rank', to=3), 'has the shape (2, 2)'),
    ('gradient', 'no rank', drop('fit', 'rank'), 'rank is missing'),
    ('gradient', 'a mode held that is not', put('fit', 'held', to=[7]), 'held'),
    ('gradient', 'outputs 2 of 1', put('fit', 'outputs', to=2), '1 outputs have names, but the fit has 2'),
    ('outputs', 'outputs 1 of 2', put('fit', 'outputs', to=1), '2 outputs have names'),
    ('outputs', 'an output without a name', put('fitted', '_outputs', to=['IA']), '1 outputs have names'),
    ('gradient', 'main effects that are not', put('fit', 'main_effects', to='yes'), 'valid boolean'),
    ('classifier', 'no main effects', put('fit', 'main_effects', to=False), 'know nothing of'),
    ('classifier', 'a main effect gone', gone('low.main.court'), 'lacks the tensors low.main.court'),
    ('gradient', 'main effects of fields', put('fit', 'main_effects', to=True), 'no mode that could have them'),
    ('gradient', 'a NaN bias', swap('low.bias', lambda t: t*math.nan), 'NaN or infinite'),
    ('gradient', 'infinite factors', swap('low.factors.1', lambda t: t/0), 'NaN or infinite'),
    ('gradient', 'factors of whole numbers', swap('low.factors.1', lambda t: t.long()), 'torch.int64'),
    ('gradient', 'factors of one number', swap('low.factors.1', lambda t: t[:0]), 'has the shape (0, 2)'),
    ('gradient', 'factors of other axes', swap('low.factors.1', lambda t: t.T.contiguous()), 'has the shape'),
    ('gradient', 'a factor gone', gone('low.factors.0'), 'lacks the tensors'),
    ('gradient', 'a tensor more', lambda T, m: T.update(more=torch.ones(1)), 'know nothing of, more'),
    ('gradient', 'an unknown option', put('params', 'x', to=1), 'no option x'),
    ('gradient', 'an option below zero', put('params', 'lr', to=-1.), 'lr must be'),
    ('gradient', 'a schedule of words', put('params', 'schedule', to='halves'), 'schedule'),
    ('gradient', 'a seed of words', put('params', 'random_state', to='a'), 'random_state'),
    ('gradient', 'settings that are a list', put('params', to=[]), 'params must be'),
    ('gradient', 'another loss', put('loss', to='logistic'), 'needs classes'),
    ('gradient', 'two losses', put('params', 'loss', to='poisson'), 'two different losses'),
    ('classifier', 'no classes', drop('fitted', 'classes_'), 'needs classes'),
    ('classifier', 'three classes', put('fitted', 'classes_', to=['a','b','c']), 'classes_ names 3 classes'),
    ('classifier', 'costs of three', put('params', 'class_weight', to=[['a', 1, 2]]), 'class_weight'),
    ('gradient', 'a method overwritten', put('fitted', 'predict', to=1), 'predict is not known'),
    ('gradient', 'a history of two lengths', lambda T, m: m['history']['epoch'].pop(), 'differ in length'),
    ('gradient', 'a history of words', put('history', 'epoch', to=['a']), 'history'),
    ('gradient', 'levels of numbers', put('levels', to=[3]), 'levels'),
    ('gradient', 'a level without epochs', drop('levels', 0, 'epochs'), 'epochs is missing'),
    ('gradient', '50 brackets in a label', put('modes', 'data', 0, 'labels', to=DEEP), 'labels'),
    ('gradient', 'a name of 100,000 letters', put('mrtl', to='x'*100_000), 'mrtl must have at most'),
    ('evidence', 'rows beyond the times', swap('fit.0.rows', lambda t: t+10**6), 'beyond the'),
    ('evidence', 'rows below zero', swap('fit.0.rows', lambda t: t-1000), 'beyond the'),
    ('evidence', 'rows of fractions', swap('fit.0.rows', lambda t: t.double()), 'float64'),
    ('evidence', 'a scale of zero', put('fit', 'sd', to=[0.]), 'above zero'),
    ('evidence', 'a mean of NaN', put('fit', 'mean', to=[math.nan]), 'finite'),
    ('evidence', 'two scales of one output', put('fit', 'sd', to=[1., 1.]), '1 means of targets, but 2'),
    ('evidence', 'no fit', put('fit', 'fits', to=[]), 'at least 1'),
    ('evidence', 'a prior of 10^9 leads', put('fit', 'fits', 0, 'prior', to=[10**9, 2, 'free']),
     'there are 2 maps'), ('evidence', 'a prior of words', put('fit', 'fits', 0, 'prior', to=['free', 1, 2]),
                           'prior over'), ('evidence', 'a weight too few', lambda T,
                                           m: m['fit']['fits'][0]['weights'].pop(), 'weights'),
    ('evidence', 'moments of zero', swap('moments.sd', lambda t: t*0), 'above zero'),
    ('evidence', 'no spread of fields', gone('moments.sd'), 'lacks the tensors moments.sd'),
    ('evidence', 'a Cholesky factor cut', lambda T,
     m: [T.__setitem__(k, v[:-1].contiguous()) for k,v in list(T.items()) if k.endswith('.L')], 'has the shape'),
    ('evidence_two', 'directions without a vote', put('fit', 'votes', to=[1., 0.]), 'with the votes'),
    ('evidence_two', 'directions gone', gone('directions'), 'lacks the tensors directions'),
    ('evidence_two', 'a correlation of 2', swap('ties', lambda t: torch.tensor([[1., 2.], [2., 1.]]).to(t)),
     'must be correlations'),
    ('evidence_two', 'correlations that differ by side',
     swap('ties', lambda t: torch.tensor([[1., .2], [.3, 1.]]).to(t)),
     'must be correlations'),
    ('evidence_two', 'correlations of three', swap('ties', lambda t: torch.eye(3).to(t)), 'has the shape'),
    ('sum', 'a term missing', lambda T, m: m['fit']['terms'].pop(), 'know nothing of'),
    ('sum', 'a term twice', lambda T, m: m['fit']['terms'].append(m['fit']['terms'][0]), 'two terms run over'),
    ('sum', 'a term of an unknown mode', put('fit', 'terms', 0, 'modes', to=['weather']), 'weather'),
    ('sum', 'a term of rank 10^9', put('fit', 'terms', 1, 'rank', to=10**9), 'has the shape'),
    ('sum', 'a term finer than the data',
     put('fit', 'terms', 1, 'schedule', to=[dict(court=[800, 1000])]), 'at most 8x10'),
    ('sum', 'a schedule of nothing', put('fit', 'terms', 1, 'schedule', to=[]), 'schedule'),
    ('sum', 'a factor of the sum gone', gone('F.1'), 'lacks the tensors F.1'),
    ('sum', 'shares below zero', swap('w.0', lambda t: -t), 'below zero'),
    ('sum', 'draws of one part gone', gone('draws.0'), 'lacks the tensors draws.0'),
    ('sum', 'draws of another number', swap('draws.1', lambda t: t[:-1].contiguous()), 'has the shape'),
    ('sum', 'noise of words', put('fit', 'facts', 'noise', to='low'), 'noise'),
    ('curve', 'nodes of nothing', put('modes', 'data', 1, 'nodes', 'axes', to=[[]]), 'axes'),
    ('curve', 'nodes that fall', both(1, 'nodes', 'axes', 0, to=list(range(9))[::-1]), 'ascending'),
    ('curve', 'nodes of NaN', put('modes', 'data', 1, 'nodes', 'axes', 0, 0, to=math.nan), 'finite'),
    ('curve', 'a period shorter than the axis', both(1, 'nodes', 'period', to=[1.]), 'do not fit into one period'),
    ('fields_sum', 'a scale of three rows', swap('scale', lambda t: torch.cat([t, t])), 'scale has the shape'),
    ('fields_sum', 'means of other cells', swap('mean', lambda t: t[..., :-1].contiguous()), 'mean has the shape')]

@pytest.mark.parametrize('name,what,edit,text', EDITED, ids=[f'{r[0]}: {r[1]}' for r in EDITED])
def test_edited_models_are_refused(files, tmp_path, name, what, edit, text):
    T,meta = load_tensors(files/f'{name}.mrtl'); T = dict(T); edit(T, meta); save_tensors(tmp_path/'m.mrtl', T, meta)
    with pytest.raises(FormatError) as e: load(name, tmp_path/'m.mrtl')
    said = str(e.value); assert 'm.mrtl' in said and any(t in said for t in text.split('|')), said
    assert len(said)<600 and '\n' not in said

def test_no_memory_is_taken_for_what_a_file_says(files, tmp_path):
    "The whole check of a file that asks for terabytes takes less than 100 MB."
    T,meta = load_tensors(files/'gradient.mrtl')
    meta['fit']['rank'] = 2**31
    save_tensors(tmp_path/'m.mrtl', T, meta)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError): R.load(tmp_path/'m.mrtl')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before < 100_000

# ---- headers

def sized(h, n=None): return (len(h) if n is None else n).to_bytes(8, 'little')+h
SIGNED = dict(mrtl='{}', sha256='0'*64)
def head(**entries): return sized(json.dumps(entries|dict(__metadata__=SIGNED)).encode())
HEADERS = dict(empty=b'', seven_bytes=b'x'*7, longer_than_the_file=sized(b'{}', 10**12), all_ones=b'\xff'*64,
               deep=sized(b'{"__metadata__":'+b'['*9000), a_list=sized(b'[]'), a_number=sized(b'3'),
               no_metadata=sized(b'{}'), metadata_a_list=sized(b'{"__metadata__":[]}'),
               no_sha=sized(b'{"__metadata__":{"mrtl":"{}"}}'),
               sha_a_number=sized(b'{"__metadata__":{"mrtl":"{}","sha256":3}}'),
    bfloat16=save(dict(a=torch.zeros(2, dtype=torch.bfloat16)), SIGNED),
    complex=save(dict(a=torch.zeros(2, dtype=torch.float16)), SIGNED),
    unsigned=save(dict(a=torch.zeros(2)), SIGNED),
    terabytes=head(a=dict(dtype='F64', shape=[10**12], data_offsets=[0, 8*10**12])),
    overflow=head(a=dict(dtype='F64', shape=[2**62, 2**62], data_offsets=[0, 8])),
    negative=head(a=dict(dtype='F64', shape=[-1], data_offsets=[0, 8])),
    seventeen_axes=head(a=dict(dtype='F64', shape=[1]*17, data_offsets=[0, 8])),
    long_name=head(**{'a'*2000: dict(dtype='F64', shape=[0], data_offsets=[0, 0])}),
    half_a_letter=sized(b'{"\xc3":1}'), pickle=b'\x80\x04\x95'+b'x'*50, zip=b'PK\x03\x04'+b'\0'*60,
    text=b'hello, world, this is text')

@pytest.mark.parametrize('name', HEADERS)
def test_headers_are_refused(tmp_path, name):
    f = tmp_path/'m.mrtl'; f.write_bytes(HEADERS[name])
    for read in load_tensors,R.load:
        with pytest.raises(FormatError, match='m.mrtl'): read(f)

@hypothesis_settings(max_examples=60, deadline=None,
                     suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(raw=st.one_of(st.binary(max_size=400),
                     st.recursive(st.none()|st.booleans()|st.integers()|st.floats()|st.text(max_size=20),
                                  lambda c: st.lists(c, max_size=4)
                                  |st.dictionaries(st.text(max_size=8)|st.just('__metadata__'), c, max_size=4),
                                  max_leaves=12).map(lambda v: sized(json.dumps(v).encode()))))
def test_any_bytes_are_refused(raw):
    with pytest.raises(FormatError): unpack_tensors(raw, 'm.mrtl')

@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_anywhere_is_refused_or_read(files, data, tmp_path_factory):
    "A value of the metadata is replaced by any other: the file is read, or refused by name."
    name = data.draw(st.sampled_from(list(MODELS))); T,meta = load_tensors(files/f'{name}.mrtl'); v = meta
    while True:
        key = data.draw(st.sampled_from(sorted(v, key=str) if isinstance(v, dict) else range(len(v)))); inside = v[key]
        if not isinstance(inside, (dict,list)) or not inside or data.draw(st.integers(0, 4))==0: break
        v = inside
    v[key] = data.draw(st.sampled_from([None, True, -1, 0, 1, 2, .5, 10**12, 10**30, 1e308, math.nan, math.inf, '',
                                        'x', 'x'*20_000, [], {}, [[]], {'x': 1}, DEEP])|st.integers()
                       |st.floats()|st.text(max_size=5))
    f = tmp_path_factory.getbasetemp()/'any.mrtl'; save_tensors(f, T, meta)
    try: m = load(name, f)
    except FormatError as e: assert 'any.mrtl' in str(e); return
    _,x,_ = MODELS[name]
    try: assert np.isfinite(np.asarray(m.predict_proba(x) if isinstance(m, C) else m.predict(x))).all()
    except MRTLError: pass # a label may have another name, which then is not that of the data
    m.factors_; m.coef_; repr(m)

# ---- checkpoints

BIG = np.tile(np.nan_to_num(X.values), (6, 1, 1, 1))+.1*RNG.normal(size=(240, 2, 4, 6))
class Stop(Callback):
    def after_epoch(self, trainer):
        if (trainer.stage, trainer.epoch)==('low', 1): os.kill(os.getpid(), signal.SIGINT)

def goes_on(path, callbacks=()):
    return R(rank=2, max_epochs=3, method='sgd', optimizer='adam', checkpoint=str(path)).fit(BIG,
            BIG[:, 0].mean((1, 2)), callbacks=callbacks)

@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    f = tmp_path_factory.mktemp('checkpoint')/'c.mrtl'
    with pytest.raises(KeyboardInterrupt): goes_on(f, [Stop()])
    return f

CUT = [('no fingerprint', drop('fingerprint')), ('more levels than the run has', put('levels_done', to=99)),
       ('levels below zero', put('levels_done', to=-1)), ('a table of another length', put('table', to=[])),
       ('history of numbers', put('history', to=[1])), ('seconds of NaN', put('seconds', to=math.nan)),
       ('seconds of words', put('seconds', to='a')), ('the best of nothing', put('best', to=[0.])),
       ('the best of level 99', put('best', to=[.5, 99])), ('a trainer of a list', put('trainer', to=[])),
       ('epoch of words', put('trainer', 'epoch', to='one')), ('no criterion', drop('trainer', 'criterion')),
    ('a criterion of words', put('trainer', 'criterion', to='x')),
    ('numbers of no parameter', put('trainer', 'opt', '99', to={})), ('no optimizer', drop('trainer', 'opt')),
    ('no start of the level', drop('cp_error')), ('endless epochs', put('table', 0, 'epochs', to=float('inf'))),
    ('callbacks in a list', put('callbacks', to=[])),
    ('a state of no kind', put('callbacks', to={'KeepMaps 0': {'x': 1, 'y': 2}})),
    ('a state whose tensor is gone', put('callbacks', to={'KeepMaps 0': {'tensor': 'nowhere'}})),
    ('weights gone', lambda T, m: T.pop('model.factors.0')),
    ('weights of another shape', swap('model.factors.0', lambda t: t[:1])),
    ('weights of NaN', swap('model.bias', lambda t: t*math.nan)),
    ('best weights gone', lambda T, m: T.pop('best.bias')),
    ('a tensor of no parameter', lambda T, m: T.update({'opt.77.exp_avg': torch.ones(1)})),
    ('an optimizer of another shape', swap('opt.0.exp_avg', lambda t: torch.ones(7, 7))),
    ('an optimizer with other names', lambda T, m: T.update({'opt.0.mean': T.pop('opt.0.exp_avg')})),
    ('an optimizer of NaN', swap('opt.0.exp_avg', lambda t: t*math.nan))]

@pytest.mark.parametrize('what,edit', CUT, ids=[r[0] for r in CUT])
def test_edited_checkpoints_are_refused(checkpoint, tmp_path, what, edit):
    T,meta = load_tensors(checkpoint); T = dict(T); edit(T, meta); save_tensors(tmp_path/'c.mrtl', T, meta)
    with pytest.raises(FormatError, match='c.mrtl'): goes_on(tmp_path/'c.mrtl')

def test_the_good_checkpoint_goes_on(checkpoint, tmp_path):
    shutil.copy(checkpoint, tmp_path/'c.mrtl'); a = goes_on(tmp_path/'c.mrtl'); b = goes_on(tmp_path/'none.mrtl')
    assert np.array_equal(a.predict(BIG), b.predict(BIG))
    with pytest.raises(FormatError, match='no model'): R.load(checkpoint)

# ---- a run's folder

def edit_json(f, g): v = json.loads(f.read_text()); w = g(v); f.write_text(json.dumps(v if w is None else w))
def edit_csv(f, g): g(pd.read_csv(f)).to_csv(f, index=False)
def edit_nc(f, g):
    with xr.open_dataset(f) as ds: new = g(ds.load())
    f.unlink(); new.to_netcdf(f)
def text(t): return lambda f: f.write_text(t)
def edited(edit, g): return lambda f: edit(f, g)
def half(f): b = f.read_bytes(); f.write_bytes(b[:len(b)//2])
def unlink(f): f.unlink()
def lines(n): return lambda f: f.write_text(''.join(f.read_text().splitlines(True)[:n]))
FOLDER = {
    'config.json': [unlink, text(''), text('[]'), text('{}'), text('3'), text('['*5000), text('\xff'), half,
                    edited(edit_json, lambda v: v.update(command=[1])), edited(edit_json, lambda v: v.update(title=3))],
    'metrics.json': [unlink, text(''), text('[]'), text('{}'), half, edited(edit_json, lambda v: v.pop('test')),
                     edited(edit_json, lambda v: v.update(test=[])),
                     edited(edit_json, lambda v: v.update(levels=3)),
                     edited(edit_json, lambda v: v['levels'].append(None)),
                     edited(edit_json, lambda v: v['rows'].update(total=7)),
                     edited(edit_json, lambda v: v['test'].update(r2='good')),
                     edited(edit_json, lambda v: v.update(compare=3)),
                     edited(edit_json, lambda v: v.update(recovery=[1]))],
    'predictions.csv': [unlink, text(''), text('a,b\n1,2\n'), half, lines(1), lines(20),
                        edited(edit_csv, lambda t: t.drop(columns='set')),
                        edited(edit_csv, lambda t: t.drop(columns='prediction')),
                        edited(edit_csv, lambda t: t.assign(prediction='x')),
                        edited(edit_csv, lambda t: t.assign(prediction=np.inf)),
                        edited(edit_csv, lambda t: t.assign(set='all')),
                        edited(edit_csv, lambda t: t.assign(prediction=np.nan)),
                        edited(edit_csv, lambda t: t.drop(columns='lower')),
                        edited(edit_csv, lambda t: t.assign(upper='x')),
                        edited(edit_csv, lambda t: t.assign(truth='x')), text('"'*99),
                        lambda f: f.write_bytes(b'\0'*99)],
    'history.csv': [unlink, text(''), text('a,b\n1,2\n'), half, lines(1),
                    edited(edit_csv, lambda t: t.drop(columns='epoch')),
                    edited(edit_csv, lambda t: t.assign(epoch='one')),
                    edited(edit_csv, lambda t: t.assign(seconds=np.nan)),
                    edited(edit_csv, lambda t: t.assign(train_loss=np.inf)),
                    edited(edit_csv, lambda t: t[['epoch','seconds']])],
    'compare.csv': [text(''), half, lines(1), edited(edit_csv, lambda t: t.drop(columns='method')),
                    edited(edit_csv, lambda t: t.assign(method=np.nan)),
                    edited(edit_csv, lambda t: t.assign(valid_loss='low')), text('method\nx\n'),
                    edited(edit_csv, lambda t: t.drop(columns='stage'))],
    'factors.nc': [unlink, text(''), text('CDF'), half, edited(edit_nc, lambda d: d.drop_vars('strength')),
                   edited(edit_nc, lambda d: d.drop_vars('bias')),
                   edited(edit_nc, lambda d: d.rename(component='part')),
                   edited(edit_nc, lambda d: d.transpose('component', ...)),
                   edited(edit_nc, lambda d: d.assign(space=d.space/0)),
                   edited(edit_nc, lambda d: d.assign_coords(lat=d.lat.values.astype(str))),
                   edited(edit_nc, lambda d: d.assign_coords(lat=d.lat*np.nan)),
                   edited(edit_nc, lambda d: d.assign_coords(lat=d.lat*1e306)),
                   edited(edit_nc, lambda d: d.assign(space=d.space*1e200)),
                   edited(edit_nc, lambda d: d.assign(space=d.space.assign_attrs(scale_factor='x'))),
                   edited(edit_nc, lambda d: d.drop_vars('component')),
                   edited(edit_nc, lambda d: d.isel(lat=slice(None, None, -1)))],
    'truth.nc': [text(''), half, edited(edit_nc, lambda d: d.drop_vars('strength')),
                 edited(edit_nc, lambda d: d.assign_coords(lon=d.lon.values.astype(str))),
                 edited(edit_nc, lambda d: d.rename(component='part')),
                 edited(edit_nc, lambda d: d.assign(strength=d.strength.astype(str))),
                 edited(edit_nc, lambda d: d.mean('component')), edited(edit_nc, lambda d: d*np.inf)],
    'model.mrtl': [unlink, text(''), text('x'*99), half]}
ROWS = [(f, i) for f in FOLDER for i in range(len(FOLDER[f]))]

@pytest.mark.parametrize('file,i', ROWS, ids=[f'{f} {i}' for f,i in ROWS])
def test_reports_of_damaged_folders(files, tmp_path, capsys, file, i):
    shutil.copytree(files/'run', tmp_path/'run'); FOLDER[file][i](tmp_path/'run'/file); capsys.readouterr()
    assert main(['report', str(tmp_path/'run')])==2
    said = capsys.readouterr().err
    assert (said.startswith('mrtl: ') and (file in said or file=='metrics.json' and 'predictions.csv has' in said)
            and 'Traceback' not in said and said.count('\n')==1 and len(said)<800)
    assert not (tmp_path/'run'/'report.html').read_bytes()!=(files/'run'/'report.html').read_bytes()

PREDICT = [('config.json', unlink), ('config.json', text('[]')), ('config.json', text('{"command": "demo"}')),
           ('config.json', text('{"command": "dance"}')), ('config.json', text('{"command": 3}')),
           ('config.json', edited(edit_json, lambda v: v.update(n=10**15))),
           ('config.json', edited(edit_json, lambda v: v.update(seed='a'))),
           ('config.json', edited(edit_json, lambda v: v.update(command='climate'))),
           ('model.mrtl', unlink), ('model.mrtl', half)]
@pytest.mark.parametrize('i', range(len(PREDICT)))
def test_predictions_of_damaged_folders(files, tmp_path, capsys, i):
    file,damage = PREDICT[i]
    shutil.copytree(files/'run', tmp_path/'run')
    damage(tmp_path/'run'/file); capsys.readouterr()
    assert main(['predict', str(tmp_path/'run'), '--out', str(tmp_path/'p.csv')])==2
    said = capsys.readouterr().err
    assert (said.startswith('mrtl: ') and (file in said or 'climate run' in said) and 'Traceback' not in said
            and not (tmp_path/'p.csv').exists())

def test_good_folders_are_read(files, tmp_path):
    f = read_run(files/'run')
    assert len(f.predictions)==f.metrics['rows']['total'] and set(f.others)>={'fixed resolution'}
    shutil.copytree(files/'run', tmp_path/'run'); assert main(['report', str(tmp_path/'run')])==0

def preps(change=lambda T, m: None):
    dims = dict(climatology=['month','lat'], slope=['lat'], scale=[])
    coords = dict(month=list(range(1, 13)), lat=[1., 2.])
    part = dict(detrend='linear', scale=True, t0=1950., dims=dims, coords=coords)
    T = {f'{n}.{k}': torch.ones(s) for n in 'xy' for k,s in (('climatology', (12, 2)), ('slope', (2,)), ('scale', ()))}
    m = dict(x=copy.deepcopy(part), y=copy.deepcopy(part), units=['K','mm']); change(T, m); return T,m

PREPS = [drop('x'), put('y', to=[]), put('units', to=['K']), put('x', 't0', to=[]),
         put('x', 'dims', 'slope', to='lat'), put('x', 'dims', to={}), put('x', 'coords', 'lat', to=[1.]),
         put('x', 'coords', 'lat', to=[[1.], [2.]]), put('x', 'dims', 'climatology', to=['lat','lat']),
         gone('y.slope'), swap('x.climatology', lambda t: t[:3].contiguous()), swap('x.slope', lambda t: t/0),
         swap('x.scale', lambda t: t[None])]
@pytest.mark.parametrize('i', range(len(PREPS)))
def test_edited_preparations_are_refused(tmp_path, i):
    save_tensors(tmp_path/'prep.mrtl', *preps()); assert read_preps(tmp_path).meta['units']==['K','mm']
    save_tensors(tmp_path/'prep.mrtl', *preps(PREPS[i]))
    with pytest.raises(FormatError, match='prep.mrtl'): read_preps(tmp_path)

# ---- memory

@pytest.mark.parametrize('ask,gb',
                         [(lambda: np.ones(10**15), '8,0'), (lambda: torch.ones(10**15), '4,000,000.0 GB'),
                          (lambda: torch.ones(2**62, 2**62), 'more memory'),
                          (lambda: np.ones((2**40, 2**40)), 'more memory'), (lambda: np.ones(2**63), 'more memory'),
                          (lambda: bytearray(2**55), 'more memory'), (lambda: [0]*2**58, 'more memory'),
    (lambda: (_ for _ in ()).throw(RuntimeError('CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has')),
     '21.5 GB')])
def test_memory_errors_are_one_sentence(ask, gb):
    with pytest.raises(DataError, match='this fit needs') as e:
        with enough_memory('this fit', 'use a coarser grid'): ask()
    assert gb in str(e.value) and str(e.value).endswith('use a coarser grid')

@pytest.mark.parametrize('error', [RuntimeError('mat1 and mat2 shapes cannot be multiplied'), ValueError('x'),
                                   OverflowError('int too large'), KeyError('a'), DataError('out of memory in a name')])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as e:
        with enough_memory('this fit', 'use a coarser grid'): raise error
    assert e.value is error

def test_memory_of_a_fit_and_of_a_command(monkeypatch, capsys, files, tmp_path):
    def full(*a, **k): return np.ones(10**15)
    monkeypatch.setattr(WAYS['sgd'], 'learn', classmethod(full))
    with pytest.raises(DataError, match='this fit needs .* GB more memory than there is: give it fewer rows'):
        R(method='sgd').fit(BIG, BIG[:, 0, 0, 0])
    monkeypatch.setattr('mrtl.cli.read_run', full); assert main(['report', str(files/'run')])==2
    assert 'mrtl report needs 8,0' in capsys.readouterr().err

# ---- words of the door

def test_a_door_is_opened_late(python):
    assert python("import sys, mrtl, mrtl.core; print('pydantic' in sys.modules)")=='False'

@pytest.mark.parametrize('text', ['', '{', 'nul', '{"a":}', '['*70+']'*70, '['*10**6, '{"a":'*10**5, '1'*5000,
                                  '\ud800'.encode('utf-16', 'surrogatepass'), b'\xff\xfe\x00'])
def test_text_that_is_no_json(text):
    with pytest.raises(FormatError, match='x.json'): parse_json(text, 'x.json')
