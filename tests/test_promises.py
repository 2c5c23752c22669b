"""The promises that hold for every part: prediction kept, nothing made worse, the same bits, nothing learnt from
held-out data, safe files."""
import json, math, os, random, re, signal, threading
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
import mrtl.estimators, mrtl.multiresolution
from mrtl.events import EventDesign
from mrtl.designs import FieldDesign, Mode
from mrtl.core import ConfigError, FormatError, generator
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.fits import GradientFit
from mrtl.splits import validation_rows
from mrtl.finegrain import nested
from mrtl.grids import Grid
from mrtl.models import FullRank, LowRank
from mrtl.multiresolution import Run, finegrain_model, make_levels, rebalanced
from mrtl.penalties import Smoothness
from mrtl.simulate import simulate_field
from mrtl.training import Callback
from mrtl.store import load_tensors, save_tensors

# ---- 1. finegraining changes no prediction

WORLD = dict(y=(-25., 65.), x=(180., 360.), names=('lat','lon'), sphere=True)
FIELD_PAIRS = [(a, b) for a in ((4,9), (8,18), (40,90), (80,180))
               for b in ((8,18), (40,90), (80,180)) if a < b] + [((4,5), (8,10)), ((4,5), (40,50)),
        ((8,10), (40,50)), ((20,25), (40,50)), ((6,6), (12,12))]
LADDERS = [[(4,9), (8,18), (12,27), (24,54), (40,90), (60,135), (80,180)], [(3,6), (6,11), (11,21)]]

def coast(shape):
    "A mask with a large masked corner and some small islands."
    y,x = np.indices(shape)
    return (y/shape[0]+x/shape[1] < 1.3)&(np.random.default_rng(0).random(shape) > .1)

def fields(shape, land):
    "Five samples of two leads and three variables."
    g = Grid(shape, **WORLD, mask=coast(shape)) if land else Grid(shape)
    return FieldDesign(torch.randn(7, 3, *shape, generator=generator('fields', *shape), dtype=torch.float64), g,
                       ('variable',), leads=2, rows=[2, 3, 4, 6, 7])

def events(court, defender=(12,12), n=40):
    "Events with bags of up to three, some empty."
    g = generator('events', *court, *defender); grids = Grid(court),Grid(defender)
    bag = torch.randint(grids[1].D, (n, 3), generator=g); bag[torch.rand(n, 3, generator=g) < .4] = -1
    idx = dict(player=torch.randint(4, (n,), generator=g),
               court=torch.randint(grids[0].D, (n,), generator=g), defender=bag)
    return EventDesign(idx, [Mode('player', 4, indexed=True), Mode('court', grids[0].D, grids[0], True),
                             Mode('defender', grids[1].D, grids[1], True)])

def random_model(kind, modes, outputs=1, main=False):
    m = FullRank(modes, outputs, main, torch.float64) if kind == 'full' else LowRank(modes, 3,
            outputs, main, torch.float64)
    g = generator('model', kind)
    for p in m.parameters(): p.data = torch.randn(p.shape, generator=g, dtype=torch.float64)
    return m

def scores(model, design):
    with torch.no_grad(): return model(design.batch())

def kept(designs, kind, method=None, **kw):
    "The largest change of any prediction, as designs go from coarse to fine."
    model = random_model(kind, designs[0].modes, **kw); first = scores(model, designs[0]); worst = 0.
    assert first.std() > 1e-3
    for d in designs[1:]:
        model = finegrain_model(model, d.modes, method)
        worst = max(worst, float((scores(model, d)-first).abs().max()))
    return worst

@pytest.mark.parametrize('kind', ['full', 'low'])
@pytest.mark.parametrize('land', [False, True])
@pytest.mark.parametrize('lo,hi', FIELD_PAIRS)
def test_nested_fields_keep_predictions(lo, hi, land, kind):
    assert nested(lo, hi)
    d = fields(hi, land)
    assert kept([d.at(lo), d], kind, outputs=2) < 1e-10 and kept([d.at(lo), d], kind, 'overlap') < 1e-10

@pytest.mark.parametrize('kind', ['full', 'low'])
@pytest.mark.parametrize('land', [False, True])
@pytest.mark.parametrize('ladder', LADDERS)
def test_composed_steps_keep_predictions(ladder, land, kind):
    designs = [fields(ladder[-1], land)]
    for s in ladder[-2::-1]: designs.insert(0, designs[0].at(s))
    assert max(kept(designs[i:], kind) for i in range(len(ladder)-1)) < 1e-10  # whatever level the weights come from
    direct = [designs[-1].at(s) for s in ladder[:-1]]+designs[-1:]
    # each level from the finest: not the same where steps do not nest
    assert max(kept(direct[i:], kind) for i in range(len(ladder)-1)) > 1e-4

@pytest.mark.parametrize('kind', ['full', 'low'])
@pytest.mark.parametrize('lo,hi', [((4,5), (8,10)), ((8,10), (40,50)), ((4,5), (40,50)), ((20,25), (40,50)),
                                   ((6,6), (12,12)), ((4,9), (8,18))])
def test_nested_events_keep_predictions(lo, hi, kind):
    small,large = ((4,4), (4,4)) if kind == 'full' and math.prod(hi) > 500 else ((6,6), (12,12))
    d = events(hi, large)
    assert kept([d.at(dict(court=lo, defender=small)), d], kind, main=True) < 1e-10

def test_events_that_do_not_nest_change_predictions():
    d = events((20,25))
    assert kept([d.at(dict(court=(8,10), defender=(6,6))), d], 'low') > .01

def test_means_of_land_cells_take_no_part():
    d = fields((8,18), True); model = random_model('low', d.at((4,9)).modes)
    loud = FieldDesign(torch.where(d.grid.mask, d.u/d.grid.share.where(d.grid.mask, torch.ones(())), 1e9), d.grid,
                       d.names, leads=2, rows=d.rows)
    assert (scores(model, d.at((4,9)))-scores(model, loud.at((4,9)))).abs().max() < 1e-12

# ---- 2. no level makes things worse

def ocean(n=300, shape=(8,16), leads=2, **kw):
    ds = simulate_field(n=n, shape=shape, leads=leads, variables=2, rank=2, **kw)
    return FieldDesign.from_xarray(ds.X, leads=leads, dtype=torch.float64),ds.y.values[leads:]

LADDER = [(2,4), (4,8), (6,12), (8,16)]
def model(**kw):
    return MRTLRegressor(**dict(dict(rank=2, schedule=LADDER, full_levels=2, max_epochs=12, patience=3, lr=.02), **kw))

def split_fit(m, d, y, **kw):
    return m.fit(d.take(range(240)), y[:240], valid=(d.take(range(245, 300)), y[245:300]), **kw)

@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('opts', [{}, dict(optimizer='sgd', lr=.5), dict(lr=.3, l1=1e-3)])
def test_levels_never_get_worse(opts, dtype):
    d,y = ocean(); m = split_fit(model(dtype=dtype, **opts), d, y); L,h = m.levels_,m.history_
    assert [(l['stage'], l['level']) for l in L] == [('full','2x4'), ('full','4x8'), ('low','4x8'),
            ('low','6x12'), ('low','8x16')]
    for a,b in zip(L, L[1:]):
        assert b['jump'] == pytest.approx(b['start_loss']-a['best_loss'], abs=1e-12)
        if a['stage'] == b['stage']:
            assert abs(b['start_loss']/a['best_loss']-1) < 1e-6 and b['best_loss'] <= a['best_loss']*(1+1e-6)
    assert L[2]['cp_error'] > 0 and [l['cp_error'] for i,l in enumerate(L) if i != 2] == [None]*4
    for l in L:
        rows = h[(h.stage == l['stage'])&(h.level == l['level'])]
        assert (rows.epoch.tolist() == list(range(l['epochs']+1)) and rows.valid_loss.iloc[0] == l['start_loss']
                and rows.valid_loss.min() == l['best_loss'])
        assert (rows.stopped_by.iloc[:-1]
                == '').all() and rows.stopped_by.iloc[-1] == l['stopped_by'] in ('criterion','cap')
    held = y[245:300]-m.predict(d.take(range(245, 300)))
    assert np.mean(held**2)/y[:240].var() == pytest.approx(min(l['best_loss'] for l in L if l['stage'] == 'low'),
            rel=1e-5 if dtype == 'float32' else 1e-10)

def test_a_wild_level_is_not_the_one_returned():
    "With a step so large that training only harms, the model is still the first low-rank one, carried up."
    class Wild(Callback):
        def before_fit(self, trainer): trainer.lr = 3. if trainer.stage == 'low' else trainer.lr
    d,y = ocean(); m = split_fit(model(max_epochs=4, dtype='float64'), d, y, callbacks=[Wild()])
    low = [l for l in m.levels_ if l['stage'] == 'low']
    assert all(l['first_loss'] > l['start_loss'] for l in low) and low[-1]['best_loss'] <= low[0]['start_loss']*(1+1e-6)
    held = y[245:300]-m.predict(d.take(range(245, 300)))
    assert np.mean(held**2)/y[:240].var() == pytest.approx(min(l['best_loss'] for l in low), rel=1e-10)

def test_unavoidable_jumps_are_recorded():
    d,y = ocean(); m = split_fit(model(finegrain='bilinear', dtype='float64', max_epochs=8), d, y); L = m.levels_
    for a,b in zip(L, L[1:]):
        assert b['jump'] == b['start_loss']-a['best_loss'] and (a['stage'] != b['stage'] or abs(b['jump']) > 1e-4)
    assert min(l['best_loss'] for l in L[2:]) == L[-1]['best_loss']
    assert np.mean((y[245:300]-m.predict(d.take(range(245,
            300))))**2)/y[:240].var() == pytest.approx(L[-1]['best_loss'], rel=1e-9)

def test_after_a_bad_jump_the_best_low_rank_level_is_the_one_carried(monkeypatch):
    class Still(Callback):
        def before_fit(self, trainer):
            trainer.lr = 1e-7 if trainer.stage == 'low' and trainer.level != '4x8' else trainer.lr
    kept_,carry = [],Run._carry
    monkeypatch.setattr(Run, '_carry', lambda self, *args: kept_.append(self.best[:2]) or carry(self, *args))
    d,y = ocean(seed=2)
    m = split_fit(model(finegrain='bilinear', dtype='float64', max_epochs=15), d, y, callbacks=[Still()])
    losses = [l['best_loss'] for l in m.levels_]; low = losses[2:]
    assert min(low) < losses[-1] and kept_ == [(min(low), 2+low.index(min(low)))]

def test_rebalancing_keeps_the_product():
    low = random_model('low', fields((8,18), True).modes, outputs=2); W = low.full().detach().clone()
    assert (rebalanced(low).full()-W).abs().max() < 1e-12*W.abs().max()

# ---- 3. the penalty means the same at every resolution

@pytest.mark.parametrize('kernel', ['gaussian', 'exponential'])
@pytest.mark.parametrize('f', [lambda y,x: torch.sin(3*y)*torch.cos(2*x),
                               lambda y,x: (-((y-.4)**2+(x-.6)**2)/.08).exp(), lambda y,x: y+2*x])
def test_penalty_means_the_same(f, kernel):
    def R(h, w):
        return float(Smoothness((h, w), .05, kernel)(f((torch.arange(h).double()[:,None]+.5)/h,
                                                       (torch.arange(w).double()+.5)/w)))
    values = [R(20,25), R(40,50), R(80,100)]
    assert min(values) > 1e-5 and max(values)/min(values) < 1.02

# ---- 6. same seed, same bits; killed, interrupted and resumed

def bits(m):
    return {k: v.numpy().tobytes()
            for k,v in m.fitted_.scorer.state_dict().items()},m.history_.drop(columns='seconds').to_csv()

@pytest.mark.parametrize('opts', [{}, dict(criterion='grad_variance'), dict(init='random', schedule=LADDER[1:]),
                                  dict(dtype='float64', optimizer='sgd', lr_decay=.9)])
def test_same_seed_same_bits(opts):
    d,y = ocean(); first,again,other = (bits(model(random_state=s, max_epochs=4, **opts).fit(d, y)) for s in (1, 1, 2))
    assert first == again and first != other

def test_global_state_has_no_say():
    d,y = ocean(); first = bits(model(max_epochs=3).fit(d, y))
    torch.manual_seed(99); np.random.seed(99)
    random.seed(99)
    states = torch.get_rng_state(),np.random.get_state()[1].copy(),random.getstate()
    assert first == bits(model(max_epochs=3).fit(d, y))
    assert torch.equal(states[0], torch.get_rng_state()) and (states[1]
            == np.random.get_state()[1]).all() and states[2] == random.getstate()
    assert torch.get_default_dtype() == torch.float32

KILL = '''
import json, os, random, signal, threading, time
import numpy as np, torch
from tqdm import tqdm
torch.set_num_threads(1)
from mrtl.estimators import MRTLRegressor, MRTLClassifier
from mrtl.multiresolution import Run
from mrtl.designs import FieldDesign
from mrtl.simulate import simulate_field
ds = simulate_field(260, (8,16), leads=2, variables=2, rank=2)
d,y = FieldDesign.from_xarray(ds.X, leads=2, dtype=torch.float64),ds.y.values[2:]
kw = OPTIONS
def fit(checkpoint, mark=None):
    m = MRTLRegressor(rank=2, schedule=[(2,4), (4,8), (8,16)], full_levels=2, max_epochs=8, patience=3, random_state=5, checkpoint=checkpoint, **kw)
    resume = Run._resume
    def noted(self):
        saved = resume(self)
        if mark and saved: open(mark, 'a').write('epoch\\n' if 'trainer' in saved[1] else 'level\\n')
        return saved
    Run._resume = noted
    m.fit(d, y); Run._resume = resume
    return m
after_epoch = Run.after_epoch
die,seen = None,0                                                                    # the first run of each trial kills itself after this many epochs, whatever the machine's speed
def eager(self, trainer):
    global seen
    self.last_save = -1e9; r = after_epoch(self, trainer)                            # a checkpoint every epoch, not every 30 s
    seen += 1
    if seen == die: os.kill(os.getpid(), signal.SIGKILL)
    return r
fit(None)
whole = fit(None)
Run.after_epoch = eager
began = time.perf_counter(); fit('timing.mrtl'); took = time.perf_counter()-began
rng,kills,trials = random.Random(0),0,0
same = []
while trials < TRIALS:
    trials += 1; ck,out,mark = f'ck{trials}.mrtl',f'out{trials}.mrtl',f'mark{trials}'
    for attempt in range(12):
        if not (pid := os.fork()):
            signal.alarm(120); tqdm.set_lock(threading.RLock())                      # tqdm's own lock is shared by forks: a killed run would hold it for ever
            if not attempt: die,seen = random.Random(trials).randint(1, 10),0
            try: fit(ck, mark).save(out)
            finally: os._exit(0 if os.path.exists(out) else 1)
        if 0 < attempt < 11:                                                         # the others are killed from outside, at any moment
            time.sleep(rng.uniform(0, took)); os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status): kills += 1
        else: assert status == 0, status
        if os.path.exists(out): break
    m = MRTLRegressor.load(out); h = [f.history_.drop(columns='seconds').to_csv() for f in (m, whole)]
    same.append(all(torch.equal(v, whole.fitted_.scorer.state_dict()[k]) for k,v in m.fitted_.scorer.state_dict().items()) and h[0] == h[1] and not os.path.exists(ck))
marks = ''.join(open(f'mark{i}').read() for i in range(1, trials+1) if os.path.exists(f'mark{i}'))
print(json.dumps(dict(same=same, kills=kills, epoch=marks.count('epoch'), level=marks.count('level'))))
'''

@pytest.mark.parametrize('options', [{}, dict(criterion='grad_entropy', optimizer='sgd', lr=.1)])
def test_killed_at_any_moment_resumes_to_the_same_bits(options, python, tmp_path):
    r = json.loads(python(f'import os; os.chdir({str(tmp_path)!r})\n'+KILL.replace('OPTIONS',
            repr(options)).replace('TRIALS', '3' if options else '4'), OMP_NUM_THREADS='1').splitlines()[-1])
    assert all(r['same']) and r['kills'] >= len(r['same']) and r['epoch'] >= 2, r

class Interrupt(Callback):
    "Sends Ctrl-C at some epoch of some level."
    def __init__(self, stage, level, epoch): self.at = stage,level,epoch
    def after_epoch(self, trainer):
        if (trainer.stage, trainer.level, trainer.epoch) == self.at: os.kill(os.getpid(), signal.SIGINT)

@pytest.mark.parametrize('at', [('full','2x4',0), ('full','4x8',2), ('low','4x8',3),
                                ('low','6x12',0), ('low','8x16',4)])
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(at, tmp_path):
    assert threading.current_thread() is threading.main_thread()
    d,y = ocean(); f = tmp_path/'ck.mrtl'; kw = dict(max_epochs=6, patience=9, checkpoint=f)
    whole = bits(model(**kw).fit(d, y)); assert not f.exists()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=rf'stopped at {at[0]} {at[1]}, epoch {at[2]}; the state is in .*ck.mrtl: fit again with the same data and settings'):
        model(**kw).fit(d, y, callbacks=[Interrupt(*at)])
    assert f.exists() and signal.getsignal(signal.SIGINT) is handler
    class Seen(Callback):
        rows = []
        def after_epoch(self, trainer): self.rows.append((trainer.stage, trainer.level, trainer.epoch))
    assert bits(model(**kw).fit(d, y, callbacks=[seen := Seen()])) == whole and not f.exists()
    assert at not in seen.rows and seen.rows[0][:2] >= at[:2]

def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    d,y = ocean(); f = tmp_path/'ck.mrtl'
    with pytest.raises(KeyboardInterrupt):
        model(checkpoint=f, max_epochs=3).fit(d, y, callbacks=[Interrupt('full', '4x8', 1)])
    saved = f.read_bytes()
    for change in dict(lr=.03), dict(random_state=1), dict(schedule=LADDER[:3]), dict(rank=1), dict(l2=0.), dict(dtype='float64'), dict(nonnegative=('lead',)), dict(valid=.3), dict(criterion='grad_norm'):
        with pytest.raises(ConfigError, match='ck.mrtl belongs to a run with other data or settings.*delete it'):
            model(**dict(dict(checkpoint=f, max_epochs=3), **change)).fit(d, y)
    for D,Y in (d, y+1e-9*(np.arange(len(y)) == 7)), (d.take(range(1, len(d))), y[1:]), (d._like(u=d.u*(1+1e-12)), y):
        with pytest.raises(ConfigError, match='other data'): model(checkpoint=f, max_epochs=3).fit(D, Y)
    with pytest.raises(ConfigError, match='other data'):
        model(checkpoint=f, max_epochs=3).fit(d, y, sample_weight=np.linspace(1, 2, len(y)))
    assert f.read_bytes() == saved
    f.write_bytes(saved[:-9])
    with pytest.raises(FormatError, match='ck.mrtl'): model(checkpoint=f, max_epochs=3).fit(d, y)

def test_a_checkpoint_of_another_rectangle_is_refused(tmp_path):
    d,y = ocean(); f = tmp_path/'ck.mrtl'
    g = d.grid
    moved = d._like(grid=Grid(g.shape, g.y, (2*g.x[0], 2*g.x[1]), g.names, g.sphere))
    assert torch.equal(moved.grid.share, g.share)
    with pytest.raises(KeyboardInterrupt):
        model(checkpoint=f, max_epochs=3).fit(d, y, callbacks=[Interrupt('full', '4x8', 1)])
    with pytest.raises(ConfigError): model(checkpoint=f, max_epochs=3).fit(moved, y)

# ---- 7. nothing is learnt from validation or test data

class Look(Callback):
    """Keeps what the first level is given: inputs and targets of the training rows as they were standardised, entry
    weights, the start of the bias."""
    def __init__(self): self.seen = None
    def before_fit(self, trainer):
        t = trainer.train; batch = t.design.batch()
        if self.seen is None:
            self.seen = [np.asarray(v).tobytes() for v in (batch.x if batch.u is not None else torch.zeros(0), t.y,
                                                           t.e, trainer.model.bias.detach())]

def standards(est, *args, **kw):
    "What a fit learns before training, as far as it changes what is trained on."
    look = Look(); est.fit(*args, callbacks=[look], **kw)
    return look.seen

def shaken(v, where, how):
    v = v.copy(); v[where] = how(v[where])
    return v

@pytest.mark.parametrize('loss', ['squared', 'poisson'])
def test_callers_validation_teaches_nothing(loss):
    d,y = ocean(); y = y if loss == 'squared' else np.round(np.exp(y)); v = d.take(range(245, 300))
    other = FieldDesign(torch.randn(len(d.u), *d.u.shape[1:], generator=generator(1), dtype=torch.float64)*5+3,
                        d.grid, d.names, d.labels, d.leads, v.rows)
    m = model(loss=loss, max_epochs=1)
    base = standards(m, d.take(range(240)), y[:240], valid=(v, y[245:300]))
    for X,Y in (v, y[245:300]*7+2), (other, y[245:300]):
        assert standards(m, d.take(range(240)), y[:240], valid=(X, Y)) == base
    assert standards(m, d.take(range(240)), shaken(y[:240], slice(3, 4), lambda t: t+1), valid=(v, y[245:300])) != base

def test_own_validation_rows_teach_nothing():
    rng = np.random.default_rng(0)
    X,y = rng.normal(size=(300, 2, 4, 6)),rng.normal(size=300)
    m = MRTLRegressor(rank=1, max_epochs=1)
    held = validation_rows(np.zeros(300), .2, seed=0).valid; assert 40 < held.sum() < 80
    def learnt(X, y): return standards(m, X, y)
    base = learnt(X, y)
    assert learnt(X, shaken(y, held, lambda t: 100-t)) == base and learnt(shaken(X, held, lambda t: t**3+9), y) == base
    assert learnt(X, shaken(y, ~held, lambda t: t+1e-6*t**3)) != base and learnt(shaken(X, ~held,
            lambda t: t+1e-4*t**3), y) != base

@pytest.mark.parametrize('kind', ['field', 'event'])
def test_class_weights_come_from_training_rows(kind):
    rng = np.random.default_rng(0)
    if kind == 'field': X = rng.normal(size=(300, 4, 6))
    else:
        X = EventDesign(dict(player=rng.integers(4, size=300), court=rng.integers(80, size=300)),
                        [Mode('player', 4, indexed=True), Mode('court', 80, Grid((8,10)), True)])
    y = (rng.random(300) < .3).astype(int); held = validation_rows(np.zeros(300), .2, seed=0).valid
    m = MRTLClassifier(rank=1, max_epochs=1, class_weight='balanced')
    base = standards(m, X, y)
    for Y in shaken(y, held, lambda t: 1-t), shaken(y, held, lambda t: 0*t): assert standards(m, X, Y) == base
    assert standards(m, X, shaken(y, np.flatnonzero(~held)[:5], lambda t: 1-t)) != base

def test_months_next_to_validation_are_left_out():
    d,y = ocean(); m = model(); train,held = GradientFit.rows(d, m.valid, None, 0); t = d.rows.numpy()
    assert held.sum() and not (train&held).any() and np.abs(t[train][:,None]-t[held]).min() > d.leads
    seen = lambda rows: set((t[rows][:,None]-np.arange(0, d.leads+1)).ravel())
    assert not seen(train)&seen(held)

# ---- 9. files are safe

@pytest.fixture(scope='module')
def model_file(tmp_path_factory):
    f = tmp_path_factory.mktemp('model')/'m.mrtl'; d,y = ocean(120)
    MRTLRegressor(rank=2, max_epochs=1).fit(d, y).save(f)
    return f

def test_damaged_model_files_are_refused(model_file, tmp_path):
    whole,f,rng = model_file.read_bytes(),tmp_path/'bad.mrtl',random.Random(0)
    assert MRTLRegressor.load(model_file).rank_ == 2
    head = 8+int.from_bytes(whole[:8], 'little')
    def flipped(at, bit): b = bytearray(whole); b[at] ^= 1<<bit; return bytes(b)
    bad = [flipped(rng.randrange(*span), rng.randrange(8)) for span in ((0, 8), (8, head), (head, len(whole)),
            (0, len(whole))) for _ in range(40)]
    bad += [whole[:rng.randrange(len(whole))] for _ in range(40)]+[whole[:-1], whole+b'\0', b'', whole[:8],
            whole[:head], whole[::-1], whole[:head]+bytes(len(whole)-head)]
    for b in bad:
        f.write_bytes(b)
        with pytest.raises(FormatError, match='bad.mrtl.*write it again'): MRTLRegressor.load(f)

def test_files_of_another_kind_are_refused(model_file, tmp_path):
    with pytest.raises(FormatError, match='holds MRTLRegressor, not MRTLClassifier'): MRTLClassifier.load(model_file)
    for name,content in dict(text=b'hello'*99, pickle=b'\x80\x04\x95\x00', zip=b'PK\x03\x04'+bytes(99)).items():
        (tmp_path/name).write_bytes(content)
        with pytest.raises(FormatError, match=name): MRTLRegressor.load(tmp_path/name)
    save_tensors(tmp_path/'other', dict(a=torch.zeros(2)), {})
    with pytest.raises(FormatError, match='holds no model'): MRTLRegressor.load(tmp_path/'other')
    tensors,meta = load_tensors(model_file); save_tensors(tmp_path/'later', tensors, meta|dict(format=99, mrtl='9.9'))
    with pytest.raises(FormatError, match='newer mrtl .9.9'): MRTLRegressor.load(tmp_path/'later')
    with pytest.raises(FormatError, match='cannot read'): MRTLRegressor.load(tmp_path/'nowhere')
    with pytest.raises(FormatError, match='cannot read'): MRTLRegressor.load(tmp_path)

UNSAFE = r'\bpickle\b|torch\.load|import joblib|joblib import (?!Parallel, delayed\n)|joblib\.\w|\bdill\b|shelve|marshal|allow_pickle\s*=\s*True|\beval\(|\bexec\(|yaml\.load'
def test_no_unsafe_loading(root):
    files = sorted((root/'mrtl').glob('*.py')); assert len(files) > 15
    assert {f.name: m for f in files if (m := re.findall(UNSAFE, f.read_text()))} == {}
    assert all(re.search(UNSAFE, s) for s in ('import pickle', 'torch.load(f)', 'np.load(f, allow_pickle = True)',
                                              'from joblib import load', 'import joblib',
                                              'from joblib import Parallel, delayed, load\n'))

def test_saving_over_a_model_is_whole_or_not_at_all(model_file, tmp_path, monkeypatch):
    f = tmp_path/'m.mrtl'; f.write_bytes(before := model_file.read_bytes()); m = MRTLRegressor.load(f)
    def full(*_): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError): m.save(f)
    monkeypatch.undo()
    assert f.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['m.mrtl']
