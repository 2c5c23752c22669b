"""Experiments: scores against plain numpy, the same bits again, files that survive interruptions, the search, and
the commands."""
import itertools, json, shutil, socket
from functools import cache
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from scipy.stats import kstest
from sklearn.metrics import average_precision_score, f1_score, log_loss, mean_squared_error, roc_auc_score
from mrtl.cli import main
from mrtl.core import ConfigError, DataError, FormatError, write_csv
from mrtl.criteria import CRITERIA
from mrtl.lab import experiments
from mrtl.lab.experiments import (CURVE_COLUMNS, STABILITY_COLUMNS, claim_lines, equal_loss, gather_trials,
                                  plan_trials, read_trial_table, run_trials, seed_interval,
    summarise_trials, trials_alike)
from mrtl.lab.search import DRAW_COLUMNS, SEARCH_RANGES, draw_settings, open_study, read_options, read_search, search_options
from mrtl.lab.setups import (SEARCHED, TRIAL_METHODS, TRIAL_PROBLEMS, TWINS, KeepState, LevelRate, RandomW,
                             basketball_games, game_frames, method_levels, method_options,
    southwest_rain, variant_names, variants)
from mrtl.lab.trials import (SETTING_COLUMNS, TRIAL_COLUMNS, Keep, Trial, TrialResult, low_share, map_scores,
                             predicted, run_trial, stage_scores, trial_settings,
    truth_scores)
from mrtl.samples import Samples
from mrtl.multiresolution import Run, make_levels
from mrtl.store import save_tensors
from mrtl.training import Callback

SHORT = {m: dict(max_epochs=2, rank=2) for m in SEARCHED}
RESULT = ['problem','method','criterion','variant','seed','stage','level','epochs','steps','stopped_by','valid_loss','test_loss','digest']
twins = pytest.mark.parametrize('twin', TWINS)

@cache
def make(twin, seed=0): return TRIAL_PROBLEMS[twin](seed, quick=True)

@cache
def tried(twin, method='mrtl', criterion='valid_loss', variant=''):
    "A short trial with the models of its stages, made once."
    own = Keep()
    return run_trial(make(twin), Trial(twin, method, criterion, variant), SHORT, callbacks=[own]),own.models

@cache
def ranked(twin):
    "A short trial of the package's own rank."
    return run_trial(make(twin), Trial(twin), dict(mrtl=dict(max_epochs=2)))

def result(f): return [{k: r[k] for k in RESULT if k in r} for r in f.rows]

# ---- problems

@twins
def test_a_twin_is_dealt_out_once_and_a_seed_makes_another(twin):
    p,again,other = make(twin),TRIAL_PROBLEMS[twin](0, quick=True),make(twin, 1)
    rows = np.concatenate(list(p.rows.values()))
    assert len(set(rows.tolist())) == len(rows) == len(p.y) and torch.equal(p.y,
            again.y) and not torch.equal(p.y, other.y)
    assert [len(f) for f in p.truth] == [m.size for m in p.design.modes] and p.full_levels < len(p.schedule)

def test_classes_weigh_the_same_and_fields_are_in_standard_deviations():
    p,q = make('events'),make('ocean'); r = p.rows['train']; y,w = p.y[r,0],p.weight[r]
    assert float(w[y == 1].sum()) == pytest.approx(float(w[y == 0].sum()), rel=1e-5) == pytest.approx(len(r)/2,
            rel=1e-5) and 0 < float(y.mean()) < .5
    known = q.y[q.rows['train']].numpy()
    assert known.mean() == pytest.approx(0., abs=1e-6) and known.std() == pytest.approx(1.,
            abs=1e-6) and q.weight is None

def test_weights_reach_the_training():
    seen = []
    class Look(Callback):
        def before_fit(self, trainer): seen.append((trainer.train, trainer.valid))
    p = make('events')
    run_trial(p, Trial('events'), {'mrtl': dict(max_epochs=1)}, callbacks=[Look()])
    assert len(seen) == 4
    for part in (0, 1):
        w = p.weight[p.rows[('train','valid')[part]]]
        for s in seen: np.testing.assert_allclose(s[part].e[:,0], w/w.mean(), rtol=1e-5)

@pytest.mark.parametrize('name', ['basketball', 'southwest'])
def test_real_data_has_no_quick_problem(name):
    with pytest.raises(ConfigError, match='twins'): TRIAL_PROBLEMS[name](0, quick=True)

# ---- ways to learn

@twins
def test_levels_and_settings_of_the_methods(twin):
    p = make(twin)
    names = {m: [(l.stage, l.name) for l in method_levels(p, m)] for m in TRIAL_METHODS}
    f = p.full_levels; finest = names['mrtl'][-1][1]
    assert [s for s,_ in names['mrtl']] == ['full']*f+['low']*(len(p.schedule)-f+1) and names['mrtl'][f
            -1][1] == names['mrtl'][f][1]
    assert names['fixed'] == names['fixed_equal'] == [('full', finest),
            ('low', finest)] and names['random'] == names['random_smooth'] == [('low',
            finest)] and len(names['random_ladder']) == len(p.schedule) and {s
            for s,_ in names['random_ladder']} == {'low'}
    found = dict(mrtl=dict(lr=.1, smooth=7., sigma=.1), fixed=dict(lr=.2, smooth=8.), random=dict(lr=.3))
    o = {m: method_options(p, m, found) for m in TRIAL_METHODS}
    assert [o[m]['lr'] for m in TRIAL_METHODS] == [.1, .2, .1, .3, .3, .1] and [o[m]['smooth']
            for m in TRIAL_METHODS] == [7., 8., 7., 0., 7., 7.] and [o[m].get('sigma')
            for m in TRIAL_METHODS] == [.1, None, .1, None, .1, .1]
    assert all(o[m]['l2'] == p.options['l2'] for m in TRIAL_METHODS) and method_options(p, 'mrtl') == p.options

# ---- variants

def effective(p, variant, found=None):
    "What a run is really asked to do: level by level, and every setting of each stage."
    levels,said,callbacks = trial_settings(p, Trial(p.name, variant=variant), found)
    full = said.pop('full_options', None) or {}
    own = [(type(c).__name__, {k: v for k,v in vars(c).items() if isinstance(v, float)}) for c in callbacks]
    out = dict(levels=[(l.stage, l.name) for l in levels], callbacks=own)
    both = ('lr','lr_decay','batch_size','smooth','l2','patience','max_epochs')
    return out|{f'{s} {k}': (full if s == 'full' else {}).get(k, said.get(k)) for s in ('full','low')
                for k in both}|{k: v for k,v in said.items() if k not in both}

THING = {'copy': {'finegrain'}, 'state': {'callbacks'}, 'rate': {'callbacks'}, 'random': {'callbacks'},
         'starts': {'levels'}, 'hands': {'levels'}, 'rank': {'rank'}, 'patience': {'full patience','low patience'},
         'full': {'full batch_size','low batch_size'},
         'no penalty in full rank': {'full smooth'}, 'no penalty in factors': {'low smooth'},
         'no penalty': {'full smooth','low smooth'}}

def changes_one_thing(p, found=None):
    plain = effective(p, '', found)
    for v in variants(p):
        now = effective(p, v, found)
        assert {k for k in plain|now if plain.get(k) != now.get(k)} == THING.get(v, THING.get(v.split()[0])), v

@twins
def test_a_variant_changes_one_thing(twin): changes_one_thing(make(twin))

@twins
def test_a_variant_of_settings_that_were_found_changes_one_thing(twin):
    changes_one_thing(make(twin), dict(mrtl=dict(lr=.02, smooth=3., full_options=dict(lr=.05, smooth=2., l2=.7))))

@twins
def test_where_a_variant_starts_and_hands_over(twin):
    p = make(twin)
    plain,f = effective(p, '')['levels'],p.full_levels
    names = [l.name for l in method_levels(p, 'random_ladder')]
    for v in variants(p):
        if v.startswith('starts'): assert effective(p, v)['levels'] == plain[int(v.split()[-1])-1:]
        if v.startswith('hands'):
            i = int(v.split()[-1])
            assert effective(p, v)['levels'] == [('full', n) for n in names[:i]]+[('low', n)
                    for n in names[i-1:]] and i != f
        if v.startswith('rank'): assert effective(p, v)['rank'] == int(v.split()[-1]) != p.options['rank']
        if v.startswith('no penalty'): assert 0. in (effective(p, v)['full smooth'], effective(p, v)['low smooth'])
    assert effective(p, 'rate halved at each level')['callbacks'] == [('LevelRate',
            dict(factor=.5))] and set(variants(p)) <= set(variant_names())

@pytest.mark.parametrize('twin,variant', [(t, v) for t in TWINS for v in variants(make(t))])
def test_each_variant_runs(twin, variant):
    rows = run_trial(make(twin), Trial(twin, variant=variant), dict(mrtl=dict(max_epochs=1, rank=2))).rows
    assert [r['stage'] for r in rows] == ['full','low'] and {r['variant']
            for r in rows} == {variant} and all(np.isfinite([r['valid_loss'], r['test_loss']]).all() for r in rows)
    assert (rows[-1]['digest'] == run_once(twin)) == (variant == 'rank 2' or variant.startswith('patience')
            or variant in SAME[twin])

# overlap is how weights are copied unless grids nest, and where they nest all but bilinear are the same
SAME = dict(events=('copy nearest','copy overlap'), ocean=('copy overlap',))

@cache
def run_once(twin): return run_trial(make(twin), Trial(twin), dict(mrtl=dict(max_epochs=1, rank=2))).rows[-1]['digest']

def test_an_unknown_variant():
    with pytest.raises(ConfigError, match='variants must be from copy nearest'):
        run_trial(make('ocean'), Trial('ocean', variant='x'))

def watched(p, *callbacks, schedule=None, full_levels=None, **options):
    "A run's trainers at the start of each level, after these callbacks: what they held."
    seen = []
    class Look(Callback):
        def before_fit(self, trainer):
            seen.append(dict(stage=trainer.stage, lr=trainer.lr, t=float(trainer.opt.t),
                             model={k: v.clone() for k,v in trainer.model.state_dict().items()},
                             moments=[{k: v.clone() for k,v in s.items()} for s in trainer.opt.state.values()]))
        def after_fit(self, trainer):
            seen[-1] |= dict(end={k: v.clone() for k,v in trainer.model.state_dict().items()},
                             rate=trainer.opt.param_groups[0]['lr'], end_t=float(trainer.opt.t),
                             end_moments=[{k: v.clone() for k,v in s.items()} for s in trainer.opt.state.values()],
                             names=[k for k,_ in trainer.model.named_parameters()],
                             shapes=[m.grid and m.grid.shape for m in trainer.model.modes])
    part = lambda k: Samples(p.design.take(torch.as_tensor(p.rows[k])), p.y[p.rows[k]],
                             None if p.weight is None else p.weight[p.rows[k]])
    levels = make_levels(p.design.modes, schedule or p.schedule, full_levels or p.full_levels)
    Run(part('train'), part('valid'), levels=levels, loss=p.loss, callbacks=[*callbacks, Look()],
        **dict(dict(max_epochs=2, rank=3, lr=.01), **options)).fit()
    return seen

def copied(t, axis, old, new):
    "Copy each cell of a nested grid along one axis, by hand."
    t = np.moveaxis(t, axis, -1); t = t.reshape(*t.shape[:-1], *old); f = [b//a for a,b in zip(old, new)]
    return np.moveaxis(t.repeat(f[0], -2).repeat(f[1], -1).reshape(*t.shape[:-2], -1), -1, axis)

def test_adam_keeps_its_state_as_said():
    "First moments times the ratio of cells, second ones times its square; a new stage starts anew."
    kept,reset = watched(make('events'), KeepState()),watched(make('events'))
    assert [s['stage'] for s in kept] == ['full','full','low','low']
    assert [s['t'] for s in kept] == [0., kept[0]['end_t'], 0.,
                                      kept[2]['end_t']] and kept[0]['end_t'] > 0 and not any(s['t'] for s in reset)
    for i,(a,b) in enumerate(zip(kept, kept[1:])):
        for n,old,new in zip(a['names'], a['end_moments'], b['moments'] if a['stage'] == b['stage'] else ()):
            for key,power in (('exp_avg', 1), ('exp_avg_sq', 2)):
                want = old[key].double().numpy(); before = want.size
                for m,(lo,hi) in enumerate(zip(a['shapes'], b['shapes'])):
                    axis = m if n == 'W' else 0
                    if lo is not None and lo != hi and (n == 'W' or n.endswith(str(m))):
                        want = copied(want, axis, lo, hi)
                want = want*(before/want.size)**power
                np.testing.assert_allclose(new[key], want, rtol=1e-5, atol=1e-12, err_msg=f'{i} {n} {key}')
                assert np.abs(want).max() > 0
    assert (kept[1]['moments'][kept[0]['names'].index('W')]['exp_avg'].numel()
            == 16*kept[0]['end_moments'][kept[0]['names'].index('W')]['exp_avg'].numel())
    assert all(not s[k].any() for l in (kept[0], kept[2], *reset) for s in l['moments']
               for k in ('exp_avg','exp_avg_sq'))

def test_a_level_that_is_cut_in_two_goes_on_where_adam_was():
    q = make('ocean'); s = q.schedule[:1]; o = dict(batch_size=253, smooth=1., l2=.01)
    whole = watched(q, schedule=s, full_levels=1, full_options=dict(max_epochs=6), **o)[0]['end']
    cut = [watched(q, *c, schedule=s*2, full_levels=2, full_options=dict(max_epochs=3), **o)[1]['end']
           for c in ([KeepState()], [])]
    near = [float((c['W']-whole['W']).abs().max()/whole['W'].abs().max()) for c in cut]
    assert near[0] < 1e-4 < 1e-2 < near[1]

@pytest.mark.parametrize('factor', (.5, 2.))
def test_the_rate_of_each_level(factor):
    s = watched(make('events'), LevelRate(factor), full_options=dict(lr=.004), lr_decay=.5)
    want = [.004, .004*factor, .01, .01*factor]
    assert [l['lr'] for l in s] == pytest.approx(want) and [l['rate']
            for l in s] == pytest.approx([w*.25 for w in want])
    three = watched(make('ocean'), LevelRate(factor), max_epochs=1)
    assert [l['lr'] for l in three] == pytest.approx([.01*factor**k for k in (0, 1, 0, 1, 2)])

def test_random_weights_are_drawn_once_and_for_full_rank():
    p = make('events')
    a,b,c = (watched(p, RandomW(.1), seed=s, max_epochs=1) for s in (0, 0, 1))
    W = [l['model']['W'] for l in a if l['stage'] == 'full']
    assert float(W[0].std()) == pytest.approx(.1, rel=.05) and abs(float(W[0].mean())) < .01 and not watched(p,
            max_epochs=1)[0]['model']['W'].any()
    assert torch.equal(W[0], b[0]['model']['W']) and not torch.equal(W[0], c[0]['model']['W'])
    shapes = [l['shapes'] for l in a[:2]]; want = a[0]['end']['W'].numpy()
    for m in (1, 2): want = copied(want, m, shapes[0][m], shapes[1][m])
    np.testing.assert_allclose(W[1], want, rtol=1e-6)
    drawn = RandomW(.1); run_trial(p, Trial('events', 'random'), SHORT, callbacks=[drawn]); assert not drawn.done

# ---- scores

def cosine(n): i,x = np.mgrid[:n,:n]; return np.cos(np.pi*i*(x+.5)/n)*np.where(i == 0, 1., 2.)**.5/n**.5

@pytest.mark.parametrize('shape', [(7, 9), (12, 5), (16, 16), (1, 11)])
def test_low_share_is_that_of_the_cosine_transform(shape):
    h,w = shape
    maps = np.random.default_rng(0).normal(size=(h, w, 3))+1.
    got = low_share(maps)
    assert got.shape == (3,)
    for k in range(3):
        M = cosine(h)@maps[...,k]@cosine(w).T
        low = sum(M[i,j]**2 for i in range(h) for j in range(w) if (i, j) != (0, 0) and (i/h)**2+(j/w)**2 <= 1/16)
        assert got[k] == pytest.approx(low/((M**2).sum()-M[0,0]**2)) == pytest.approx(float(low_share(maps[...,k])))

def test_low_share_by_a_fourier_transform():
    "The cosine transform of a map is the Fourier transform of the map and its mirror images."
    x = np.random.default_rng(1).normal(size=(8, 12))
    h,w = x.shape
    big = np.block([[x, x[:,::-1]], [x[::-1], x[::-1,::-1]]])
    E = np.abs(np.fft.fft2(big))**2; E[0,0] = 0
    i,j = np.meshgrid(np.fft.fftfreq(2*h)*2, np.fft.fftfreq(2*w)*2, indexing='ij')
    assert float(low_share(x)) == pytest.approx(E[i**2+j**2 <= 1/16].sum()/E.sum())

def strengths(factors, modes):
    out = 1.
    for f,m in zip(factors, modes):
        f = np.asarray(f, float)
        out = out*np.sqrt((f**2).sum(0) if m.grid is None else (m.grid.share.flatten().numpy()[:,None]*f**2).sum(0))
    return out

@twins
def test_scores_of_maps_are_weighted_by_strength(twin):
    p,f = make(twin),ranked(twin); factors = list(f.factors.values()); s = strengths(factors, p.design.modes)
    for m,F in zip(p.design.modes, factors):
        if m.grid is None: continue
        x = F.numpy().astype(float).reshape(*m.grid.shape, -1)*m.grid.mask.numpy()[...,None]
        z = x-x.mean((0, 1)); h,w = m.grid.shape
        near = sum((z[i,j]*z[a,b] for i in range(h) for j in range(w) for a,b in ((i+1, j), (i, j+1)) if a < h
                    and b < w), np.zeros(x.shape[-1]))
        moran = h*w/(h*(w-1)+w*(h-1))*near/(z**2).sum((0, 1))
        row = f.rows[-1]
        assert (row[f'moran_{m.name}'] == pytest.approx(np.average(moran, weights=s), rel=1e-5)
                and row[f'low_{m.name}'] == pytest.approx(np.average(low_share(x), weights=s), rel=1e-5)
                and row['alive'] == (s >= .01*s.max()).sum())
    dead = [torch.cat([F, torch.zeros(len(F), 1)], 1) for F in factors]
    a,b = (map_scores(p.design.modes, F) for F in (factors, dead))
    assert a == pytest.approx(b)
    assert map_scores(p.design.modes, [torch.zeros_like(F) for F in factors])['alive'] == 0

def wobble(twin):
    p = make(twin); rng = np.random.default_rng(3)
    return p,{k: (torch.as_tensor(rng.normal(size=(len(p.rows[k]), 1)))+p.y[p.rows[k]]).float()
              for k in ('valid','test')}

def test_scores_of_events():
    p,s = wobble('events'); got = stage_scores(p, s)
    y,w,prob = ({k: f(k) for k in s}
                for f in (lambda k: p.y[p.rows[k]][:,0].numpy(), lambda k: p.weight[p.rows[k]].numpy(),
                          lambda k: 1/(1+np.exp(-s[k][:,0].double().numpy()))))
    assert got['test_loss'] == pytest.approx(log_loss(y['test'], prob['test'], sample_weight=w['test']),
                                             rel=1e-6) != pytest.approx(log_loss(y['test'], prob['test']), rel=1e-3)
    cuts = np.sort(prob['valid'])
    hits = prob['valid'] >= cuts[:,None]
    best = 2*(hits&(y['valid'] == 1)).sum(1)/(hits.sum(1)+y['valid'].sum())
    at = cuts[int(np.argmax(best))]
    assert got['valid_f1'] == pytest.approx(best.max()) and got['test_f1'] == pytest.approx(f1_score(y['test'],
            prob['test'] >= at))
    for k in s:
        assert got[f'{k}_auc'] == pytest.approx(roc_auc_score(y[k],
                prob[k])) and got[f'{k}_average_precision'] == pytest.approx(average_precision_score(y[k], prob[k]))
    assert set(got) == {'test_loss', *(f'{k}_{c}' for k in s for c in ('auc','average_precision','f1'))}

def test_scores_of_fields():
    p,s = wobble('ocean'); got = stage_scores(p, s)
    y = {k: p.y[p.rows[k]][:,0].numpy() for k in s}
    assert set(got) == {'test_loss','valid_r2','valid_mse','test_r2','test_mse'}
    for k in s:
        mse = mean_squared_error(y[k], s[k][:,0])
        assert got[f'{k}_mse'] == pytest.approx(mse, rel=1e-5) and got[f'{k}_r2'] == pytest.approx(1
                -mse/(y[k]**2).mean(), rel=1e-5)
    assert got['test_loss'] == pytest.approx(got['test_mse'], rel=1e-5)

def weighted_loss(p, scores, rows):
    "By hand."
    y,s,w = (p.y[rows][:,0].double().numpy(),scores[:,0].double().numpy(),np.ones(len(rows)) if p.weight is None
             else p.weight[rows].double().numpy())
    return np.average(np.logaddexp(0, s)-y*s if p.events else (s-y)**2, weights=w)

@twins
@pytest.mark.parametrize('method', TRIAL_METHODS)
def test_what_a_stage_predicts_has_the_loss_of_its_row(twin, method):
    p,(f,models),levels = make(twin),tried(twin, method),method_levels(make(twin), method)
    v = p.rows['valid']
    rows = {r['stage']: r for r in f.rows}
    assert list(rows) == list(dict.fromkeys(l.stage for l in levels)) == [s for s in ('full','low') if s in models]
    for stage,(i,model,best) in models.items():
        own = [h for h in f.history if h['stage'] == stage]
        last = [h['valid_loss'] for h in own if h['level'] == own[-1]['level']]
        assert levels[i].stage == stage and levels[i].name == own[-1]['level'] and best == min(last)
        assert weighted_loss(p, predicted(p, model, levels[i:], v), v) == pytest.approx(best, rel=1e-5)
        assert rows[stage]['valid_loss'] == (best if stage == 'full' else min(h['valid_loss']
                for h in own)) and (stage == 'low' or p.events
                                    or rows[stage]['valid_mse'] == pytest.approx(best, rel=1e-5))
    assert sum(r['seconds'] for r in f.rows) == pytest.approx(f.history[-1]['seconds'])
    for stage,r in rows.items():
        o = method_options(p, method, SHORT); n = len(p.rows['train'])
        b = (o.get('full_options') or {}).get('batch_size', o['batch_size']) if stage == 'full' else o['batch_size']
        levels_ = [[h['epoch'] for h in f.history if h['stage'] == stage and h['level'] == l.name]
                   for l in levels if l.stage == stage]
        assert r['epochs'] == sum(map(max, levels_)) and r['steps'] == r['epochs']*-(-n//b)

def brute_match(a, b, shares):
    "The best of all ways to pair components."
    def cosines(i, j):
        return np.prod([abs((np.asarray(f)[:,i]*np.asarray(g)[:,j]*v).sum())/np.sqrt((np.asarray(f)[:,i]**2*v).sum()*(np.asarray(g)[:,j]**2*v).sum()) for f,g,v in zip(a, b, shares)])
    k = a[0].shape[1]
    C = [[cosines(i, j) for j in range(k)] for i in range(k)]
    return max(np.mean([C[i][o[i]] for i in range(k)]) for o in itertools.permutations(range(k)))

@twins
def test_scores_of_the_truth(twin):
    p,f = make(twin),ranked(twin); modes = p.design.modes
    k = p.truth[0].shape[1]
    factors = [F.double().numpy() for F in f.factors.values()]
    s = strengths(factors, modes)
    assert k <= factors[0].shape[1]
    whole = lambda F: np.einsum('ak,bk,ck->abc', *map(np.asarray, F)).ravel()
    top = [F[:,np.argsort(-s)[:k]] for F in factors]
    shares = [np.ones(m.size) if m.grid is None else m.grid.share.flatten().numpy() for m in modes]
    got = {c: f.rows[-1][c] for c in ('truth_map','truth_match')}
    assert got['truth_map'] == pytest.approx(np.corrcoef(whole(factors), whole(p.truth))[0,1],
                                             rel=1e-4) and got['truth_match'] == pytest.approx(brute_match(top,
            p.truth, shares), rel=1e-4)
    same = [torch.as_tensor(np.concatenate([F[:,::-1]*c, 1e-3*np.ones((len(F), 1))], 1))
            for F,c in zip(p.truth, (2., -1., -.5))]
    assert truth_scores(p, same)['truth_match'] == pytest.approx(1.) and truth_scores(p, same)['truth_map'] > .999
    assert truth_scores(SimpleNamespace(truth=None), same) == {}

def made_factors(sizes, k=7, seed=0):
    rng = np.random.default_rng(seed)
    return {f'{i} {n}': torch.as_tensor(rng.normal(size=(m, k))) for i,(n,m) in enumerate(sizes.items())}

def test_how_alike_two_trials_are():
    a,b,c = (made_factors(dict(player=n, court=20, defender=12), seed=s) for n,s in ((6, 0), (6, 1), (9, 2)))
    assert trials_alike(a, a) == pytest.approx(1.)
    def top(t):
        s = np.prod([np.linalg.norm(f, axis=0) for f in t.values()], 0)
        return [f.numpy()[:,np.argsort(-s)[:5]] for f in t.values()]
    one = [1.]*3
    assert trials_alike(a, b) == pytest.approx(brute_match(top(a), top(b), one)) != pytest.approx(1., abs=.5)
    assert trials_alike(a, c) == pytest.approx(brute_match(top(a)[1:], top(c)[1:],
            one)) == pytest.approx(trials_alike(c, a))
    other = dict(a, **{'0 player': torch.cat([a['0 player'], torch.zeros(3, 7)])})
    assert trials_alike(a, other) == pytest.approx(1.)
    assert trials_alike(a, {k: a[k] for k in reversed(a)}) == pytest.approx(1.), 'the order of a file does not count'

# ---- time to equal loss, and summaries

def made_curves(seed):
    "Random curves of two problems, with ties, stages that are missing, and better ones of other criteria and variants."
    rng,rows = np.random.default_rng(seed),[]
    for problem,method,s,(criterion,variant) in itertools.product(('a','b'),
            ('mrtl','fixed','random','random_ladder'), range(5),
            (('valid_loss',''), ('grad_norm',''), ('valid_loss','rank 1'))):
        t = 0.
        for stage in ('full','low'):
            if stage == 'full' and method.startswith('random') or rng.random() < .15: continue
            for i in range(rng.integers(1, 7)):
                t += rng.exponential()
                rows.append(dict(problem=problem, method=method, criterion=criterion, variant=variant, seed=s,
                                 stage=stage, level='l', epoch=i, seconds=t,
                                 valid_loss=round(rng.random()*(1. if criterion == 'valid_loss'
                                                                and not variant else .1), 1)))
    return pd.DataFrame(rows)

def brute_equal_loss(c, us, them):
    out,all_ = {},{}
    for r in c[(c.criterion == 'valid_loss')&(c.variant == '')].itertuples():
        all_.setdefault((r.problem, r.method, r.seed, r.stage), []).append((r.seconds, r.valid_loss))
    for problem,seed,stage in itertools.product('ab', range(5), ('full','low','both')):
        best,time = {},{}
        pick = lambda m, s: all_.get((problem, m, seed, s), [])
        runs = {m: pick(m, 'full' if stage == 'full' else 'low') for m in (us, them)}
        if not all(runs.values()): continue
        for m,h in runs.items(): best[m] = min(v for _,v in h)
        for m,h in runs.items():
            begin = max([t for t,_ in pick(m, 'full')], default=0.) if stage == 'low' else 0.
            time[m] = min(t for t,v in h if v <= max(best.values()))-begin
        out[problem, seed, stage] = (max(best.values()), time[us], time[them],
                                     time[them]/time[us], best[us], best[them])
    return out

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('them', ('fixed','random','random_ladder'))
def test_time_to_equal_loss_by_hand(seed, them):
    c = made_curves(seed)
    want = brute_equal_loss(c, 'mrtl', them)
    got = equal_loss(c, them=them)
    assert len(got) == len(want) > 7 and set(got.stage) == ({'full','low','both'} if them
            == 'fixed' else {'low','both'})
    for r in got.itertuples():
        np.testing.assert_allclose((r.target, r.us, r.them, r.ratio, r.us_best, r.them_best),
                                   want[r.problem, r.seed, r.stage], rtol=1e-9)

def span(v, statistic=np.mean): return np.nanmin(v),np.nanmax(v) # an interval that takes no time

def test_equal_loss_of_nothing():
    assert (len(equal_loss(made_curves(0), them='fixed_equal')) == 0
            and claim_lines(summarise_trials(pd.DataFrame(columns=TRIAL_COLUMNS), made_curves(0)[:0],
                                             pd.DataFrame(columns=STABILITY_COLUMNS)))[1:] == [])

@pytest.mark.parametrize('statistic', (np.mean, np.median))
def test_an_interval_is_that_of_a_bootstrap(statistic):
    v = np.random.default_rng(0).exponential(size=15)
    rng = np.random.default_rng(1)
    again = statistic(v[rng.integers(0, 15, (20000, 15))], axis=1)
    low,high = seed_interval(v, statistic)
    assert low == pytest.approx(np.quantile(again, .025),
                                abs=.1*np.ptp(v)) and high == pytest.approx(np.quantile(again, .975),
            abs=.1*np.ptp(v)) and low < statistic(v) < high
    assert seed_interval([*v, np.nan], statistic) == (low, high) and seed_interval([2., 2., 2.]) == (2.,
            2.) and np.isnan(seed_interval([1., 2., np.nan])).all()

def made_rows(seeds=6):
    rng = np.random.default_rng(5)
    one = lambda m, c, v, s, stage: dict(problem='ocean', method=m, criterion=c, variant=v, seed=s, stage=stage,
                                         seconds=rng.exponential(), epochs=rng.integers(1, 9),
                                         valid_loss=rng.random(), test_r2=rng.random() if s != 2 else np.nan)
    return pd.DataFrame([one(m, c, v, s, stage) for m,c,v in (('mrtl','valid_loss',''), ('fixed','valid_loss',''),
            ('mrtl','grad_norm',''), ('mrtl','valid_loss','rank 1')) for s in rng.permutation(seeds)
                         for stage in ('full','low') if (m, s) != ('fixed', 4)]).reindex(columns=list(TRIAL_COLUMNS))

def test_a_summary_by_hand():
    rows,curves = made_rows(),made_curves(1).replace(dict(problem=dict(a='ocean', b='events')))
    t = summarise_trials(rows, curves, pd.DataFrame(columns=STABILITY_COLUMNS), span)
    assert not t.duplicated(['problem','method','criterion','variant','stage','score']).any()
    scores = t[t.score != 'speed-up'].set_index(['method','criterion','variant','stage','score'])
    assert (set(scores.index.get_level_values('score')) == {'seconds','epochs','valid_loss','test_r2'}
            and len(scores) == 4*2*4)
    for (m,c,v,stage,score),r in scores.iterrows():
        of = lambda m, c, v: {x.seed: getattr(x, score) for x in rows.itertuples() if (x.method, x.criterion,
                x.variant, x.stage) == (m, c, v, stage) and np.isfinite(getattr(x, score))}
        own,ref = of(m, c, v),of('mrtl', 'valid_loss', '')
        x = np.array(list(own.values()), float)
        d = np.array([own[s]-ref[s] for s in sorted(own) if s in ref])
        assert r.n == len(x)
        np.testing.assert_allclose([r['mean'], r.sd, r['median']], [x.mean(), x.std(ddof=1), np.median(x)])
        assert (r.low, r.high) == (x.min(), x.max())
        if (m, c, v) == ('mrtl','valid_loss',''): assert np.isnan(r.difference)
        else:
            np.testing.assert_allclose([r.difference, r.difference_low, r.difference_high],
                                       [d.mean(), d.min(), d.max()])
    for (problem,method,stage),r in t[t.score == 'speed-up'].set_index(['problem','method','stage']).iterrows():
        ratio = [v[3] for k,v in brute_equal_loss(curves.replace(dict(problem=dict(ocean='a', events='b'))), 'mrtl',
                                                  method).items() if k[0] == dict(ocean='a',
                events='b')[problem] and k[2] == stage]
        np.testing.assert_allclose([r['median'], r['mean'], r.low, r.high],
                                   [np.median(ratio), np.mean(ratio), min(ratio), max(ratio)])
        assert r.n == len(ratio)

def test_stability_and_the_claim_of_a_summary():
    s = pd.DataFrame([dict(problem='ocean', method='mrtl', criterion='valid_loss', variant='', seed=i, other=i+1,
                           match=m) for i,m in enumerate((.2, .4, .9))])
    t = summarise_trials(made_rows(), made_curves(0), s, span)
    r = t[t.score == 'stability'].iloc[0]
    assert (r['mean'], r.n, r.stage) == (pytest.approx(.5), 3, 'low') and (r.low, r.high) == (.2, .9)
    text = claim_lines(t)
    fixed = t[(t.score == 'speed-up')&(t.method == 'fixed')]
    assert len(text) == 1+len(fixed) == 7
    names = dict(full='full-rank stage', low='low-rank stage', both='both stages')
    for r,l in zip(fixed.itertuples(), text[1:]):
        assert (l == f'{r.problem}, {names[r.stage]}: {r.median:.2g} times as soon (95 % interval {r.low:.2g} to '
                f'{r.high:.2g}, {r.n} seeds)')
    few = fixed.assign(low=np.nan, n=1)
    assert all('1 seed, too few for an interval' in l for l in claim_lines(few)[1:])

# ---- the same bits

@pytest.mark.parametrize('twin,method,criterion', [('ocean', m, 'valid_loss') for m in TRIAL_METHODS]
                         +[('events', 'mrtl', c) for c in CRITERIA])
def test_a_trial_has_the_same_bits_again(twin, method, criterion):
    a,_ = tried(twin, method, criterion)
    b = run_trial(make(twin), Trial(twin, method, criterion), SHORT)
    assert result(a) == result(b) and len(a.rows[-1]['digest']) == 16
    assert [h['valid_loss'] for h in a.history] == [h['valid_loss']
                                                    for h in b.history] and all(torch.equal(a.factors[k],
            b.factors[k]) for k in a.factors)

def test_a_trial_does_not_know_what_was_tried_before():
    "Each alone, on a problem of its own; then one after another on one."
    one = lambda p, v: result(run_trial(p, Trial('events', variant=v), SHORT))[-1]['digest']
    alone = {v: one(TRIAL_PROBLEMS['events'](0, quick=True), v)
             for v in ('', 'state kept', 'rate halved at each level', 'random weights')}
    p = make('events')
    before,weights = json.dumps(p.options),p.weight.clone()
    assert len(set(alone.values())) == 4
    for v in [*alone, *reversed(alone)]: assert one(p, v) == alone[v], v
    assert json.dumps(p.options) == before and torch.equal(weights, p.weight)

def test_methods_and_seeds_differ():
    assert (len({tried('ocean', m)[0].rows[-1]['digest'] for m in TRIAL_METHODS}) == 5
            and tried('ocean', 'fixed')[0].rows[-1]['digest'] == tried('ocean',
            'fixed_equal')[0].rows[-1]['digest']), 'these two have the same settings'
    p = make('ocean')
    assert result(run_trial(p, Trial('ocean', seed=1), SHORT))[-1]['digest'] != tried('ocean')[0].rows[-1]['digest']

# ---- limits

@twins
def test_no_time_ends_each_level_at_once(twin):
    for m in TRIAL_METHODS:
        f = run_trial(make(twin), Trial(twin, m), SHORT, seconds=0.)
        assert [h['epoch'] for h in f.history] == [0]*len(method_levels(make(twin), m)) and {r['epochs']
                for r in f.rows} == {0} == {r['steps'] for r in f.rows}

def test_half_of_the_time_is_for_full_rank():
    keep = Keep(10.)
    stops = lambda stage, t, stop=False: (lambda tr: (keep.after_epoch(tr),
            tr.stop)[1])(SimpleNamespace(stage=stage, stop=stop, clock=lambda: t))
    assert [stops('full', 4.9), stops('full', 5.1), stops('low', 5.1), stops('low', 9.9), stops('low', 10.1),
            stops('low', 0., True)] == [False, True, False, False, True, True]
    keep = Keep(); assert not stops('full', 1e9)

@twins
def test_a_diverged_trial_says_so(twin):
    wild = dict(lr=1e30, full_options=dict(lr=1e30))
    found = dict(mrtl=dict(wild), random=dict(wild))
    a,b = (run_trial(make(twin), Trial(twin, m), found) for m in ('mrtl','random'))
    assert [r['stage'] for r in a.rows] == ['full','low'] and [r['stage']
            for r in b.rows] == ['low'] and all('diverged' in r['error'] and 'valid_loss' not in r
                                                and r['lr'] == 1e30 for r in a.rows
                                                +b.rows) and a.history == [] and a.factors == {}

# ---- the plan

def test_a_plan_has_everything_once():
    todo = plan_trials(TWINS, range(3), variants=variant_names())
    assert len(set(todo)) == len(todo) == 2*3*(len(TRIAL_METHODS)+3+len(variant_names())) and len({t.name
            for t in todo}) == len(todo)
    assert {(t.method, t.criterion, t.variant) for t in todo if t.method != 'mrtl'} == {(m, 'valid_loss', '')
            for m in TRIAL_METHODS if m != 'mrtl'} and {t.criterion
            for t in todo if t.variant} == {'valid_loss'} and {t.criterion for t in todo} == set(CRITERIA)
    groups = [k for k,_ in itertools.groupby(todo, lambda t: (t.problem, t.seed))]
    assert len(groups) == 6, 'those of one problem and seed are together'
    assert [t.criterion for t in plan_trials(['ocean'], [0], ['fixed','mrtl'],
                                             ['grad_norm','valid_loss'])] == ['grad_norm','grad_norm','valid_loss']

# ---- files and tables

TODO = [t for t in plan_trials(['ocean'], range(2), ['mrtl','fixed','random'], ['valid_loss'],
                               ['rank 1', 'starts at level 9']) if t.method != 'mrtl' or t.variant]
OWN = dict(found=dict(ocean=SHORT), quick=True)

def files(out): return sorted(str(f.relative_to(out)) for f in Path(out).rglob('*') if f.is_file())

def same(a, b):
    for x,y in zip(a, b):
        drop = [c for c in ('seconds','load','date') if c in x]
        pd.testing.assert_frame_equal(x.drop(columns=drop), y.drop(columns=drop))

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A job that nothing interrupted: its folder and its tables."
    out = tmp_path_factory.mktemp('whole'); assert run_trials(TODO, out, **OWN) == 6; return out,gather_trials(out)

@pytest.fixture
def copy(whole, tmp_path): shutil.copytree(whole[0], tmp_path/'run'); return tmp_path/'run'

def test_what_a_job_leaves(whole):
    out,(rows,curves,stability) = whole
    assert files(out) == sorted([f'trials/{t.name}.mrtl' for t in TODO if t.variant != 'starts at level 9']
                                +['compare.csv','curves.csv','stability.csv'])
    assert (tuple(rows) == TRIAL_COLUMNS and tuple(curves) == CURVE_COLUMNS
            and tuple(stability) == STABILITY_COLUMNS and len(rows) == 2*(2+1+2)
            and stability[['method','variant','seed','other']].values.tolist() == [[m, '', 0, 1]
            for m in ('fixed','random')])
    assert (rows.method.tolist() == sorted(rows.method, key=list(TRIAL_METHODS).index)
            and rows[['load','commit','versions','date','device']].notna().all().all() and (rows.error == '').all()
            and rows[rows.stage == 'low'].digest.notna().all())
    for m,g in rows[(rows.variant == '')&(rows.seed == 0)].groupby('method'):
        for r,want in zip(g.to_dict('records'), tried('ocean', m)[0].rows):
            for k in RESULT:
                assert r[k] == (pytest.approx(want[k], rel=1e-5) if isinstance(want.get(k), float)
                                else want[k]) if k in want else pd.isna(r[k])
    pair = [{f'{i} {n}': v for i,(n,v) in enumerate(run_trial(make('ocean', s), Trial('ocean', 'fixed', seed=s),
            SHORT).factors.items())} for s in range(2)]
    assert stability[stability.method == 'fixed'].match.item() == pytest.approx(trials_alike(*pair), abs=1e-3)

def test_two_workers_make_the_same_rows(whole, tmp_path):
    assert run_trials(TODO, tmp_path, **OWN, workers=2) == 6
    same(gather_trials(tmp_path), whole[1])

def test_an_interrupted_job_goes_on(whole, tmp_path):
    after = 2; left = [after]
    def dies(*a, **k):
        if not left[0]: raise KeyboardInterrupt
        left[0] -= 1; return run_trial(*a, **k)
    with pytest.raises(KeyboardInterrupt): run_trials(TODO, tmp_path, **OWN, run=dies)
    assert files(tmp_path) == sorted(f'trials/{t.name}.mrtl' for t in TODO[:after])
    kept = {f: (tmp_path/f).read_bytes() for f in files(tmp_path)}
    assert run_trials(TODO, tmp_path, **OWN) == 6-after
    same(gather_trials(tmp_path), whole[1])
    assert files(tmp_path) == files(whole[0])
    assert all((tmp_path/f).read_bytes() == b for f,b in kept.items()) and run_trials(TODO, tmp_path, **OWN) == 0

def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    def stop(*a): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr('mrtl.core.os.replace', stop)
        with pytest.raises(KeyboardInterrupt): run_trials(TODO[:1], tmp_path, **OWN)
    assert files(tmp_path) == [] and run_trials(TODO[:1], tmp_path, **OWN) == 1

def test_a_damaged_trial_is_refused(copy):
    f = copy/files(copy)[-1]; raw = f.read_bytes(); assert f.suffix == '.mrtl'
    for bad in (raw[:-1], raw[:100], b'', b'no trial', raw[:-9]+bytes([raw[-9]^1])+raw[-8:]):
        f.write_bytes(bad)
        for go in (lambda: gather_trials(copy), lambda: run_trials(TODO, copy, **OWN)):
            with pytest.raises(FormatError, match=f.name): go()
    save_tensors(f, {}, dict(a=1))
    with pytest.raises(FormatError, match='is no trial'): gather_trials(copy)
    with pytest.raises(ConfigError, match='has no trials'): gather_trials(copy/'trials')

@pytest.mark.parametrize('change', [dict(found=None), dict(found=dict(ocean=SHORT|dict(mrtl=dict(max_epochs=3)))),
                                    dict(quick=False), dict(seconds=9.)])
def test_trials_of_other_settings_are_not_taken(copy, change):
    before = {f: (copy/f).read_bytes() for f in files(copy)}
    with pytest.raises(ConfigError, match='other settings'):
        run_trials(TODO, copy, **OWN|change, run=lambda *a: pytest.fail('it ran'))
    assert {f: (copy/f).read_bytes() for f in files(copy)} == before

def test_a_table_of_other_columns_is_refused(copy):
    f = copy/'compare.csv'; t = pd.read_csv(f)
    for bad in (t.drop(columns='digest'), t[list(t)[::-1]], t.assign(more=1), pd.read_csv(copy/'curves.csv')):
        bad.to_csv(f, index=False)
        with pytest.raises(FormatError, match='no such table'): read_trial_table(f, TRIAL_COLUMNS)
    for text in (b'', b'\xff\xfe\x00'):
        f.write_bytes(text)
        with pytest.raises(FormatError, match='compare.csv'): read_trial_table(f, TRIAL_COLUMNS)
    f.unlink()
    with pytest.raises(FormatError, match='mrtl compare'): read_trial_table(f, TRIAL_COLUMNS)
    gather_trials(copy); assert read_trial_table(f, TRIAL_COLUMNS).variant.tolist().count('') == 6

def test_a_commit_is_not_a_number(tmp_path):
    write_csv(tmp_path/'t.csv', pd.DataFrame([dict(problem='ocean', commit='0123456', digest='00123456789012e4')],
                                             columns=TRIAL_COLUMNS))
    t = read_trial_table(tmp_path/'t.csv', TRIAL_COLUMNS).iloc[0]
    assert (t.commit, t.digest) == ('0123456', '00123456789012e4')

def test_trials_that_diverged_are_rows(copy, tmp_path):
    wild = dict(ocean=dict(random=dict(lr=1e30)))
    todo = [Trial('ocean', 'random', seed=7)]
    run_trials(todo, tmp_path, found=wild, quick=True)
    shutil.copy(tmp_path/'trials'/f'{todo[0].name}.mrtl', copy/'trials')
    rows,curves,stability = gather_trials(copy)
    bad = rows[rows.seed == 7]
    assert 'diverged' in bad.error.item() and bad.valid_loss.isna().all() and len(rows) == 11 and not (curves.seed
            == 7).any() and not (stability.other == 7).any()
    t = summarise_trials(rows, curves, stability)
    assert t[(t.method == 'random')&(t.score == 'valid_loss')].n.item() == 2

def test_tables_where_all_diverged(tmp_path):
    run_trials([Trial('ocean', 'random')], tmp_path, found=dict(ocean=dict(random=dict(lr=1e30))), quick=True)
    assert len(gather_trials(tmp_path)[0]) == 1

# ---- the search

@pytest.fixture(scope='module')
def quiet(): optuna.logging.set_verbosity(optuna.logging.WARNING)

def draws_of(kind, method, n=400, **options):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [draw_settings(study.ask(), kind, method, **options) for _ in range(n)]

@pytest.mark.parametrize('kind', SEARCH_RANGES)
def test_draws_fill_their_ranges(kind, quiet):
    "Log-uniformly where a range spans a decade or more."
    found = draws_of(kind, 'mrtl')
    flat = pd.DataFrame([{k: v for k,v in f.items() if k != 'full_options'}|{f'full_{k}': v
            for k,v in f['full_options'].items()} for f in found])
    assert set(flat) == set(SEARCH_RANGES[kind]) <= set(SETTING_COLUMNS)
    for k,(a,b) in SEARCH_RANGES[kind].items():
        v = flat[k].values; assert v.min() >= a and v.max() <= b and len(set(v)) > (40 if k == 'batch_size' else 390)
        u = np.log(v/a)/np.log(b/a) if b/a >= 10 else (v-a)/(b-a)
        assert kstest(u, 'uniform').statistic < .1 and u.min() < .05 and u.max() > .95, k
    assert flat.drop(columns='batch_size').corr().abs().where(~np.eye(len(SEARCH_RANGES[kind])-1,
            dtype=bool)).max().max() < .25 and flat.batch_size.dtype.kind == 'i'

def test_draws_of_the_methods(quiet):
    assert set(draws_of('fields', 'random', 1)[0]) == {'batch_size','lr','l2','lr_decay'} and set(draws_of('events',
            'fixed', 1)[0]) == {'batch_size','lr','l2','smooth','sigma','lr_decay','full_options'}
    assert min(f['batch_size'] for f in draws_of('events', 'mrtl', 100,
                                                 least_batch=200)) >= 200 and min(f['batch_size']
            for f in draws_of('events', 'mrtl', 100, least_batch=3)) < 64

class Fake:
    "Stands for `run_trial`: quick, and the loss is known."
    def __init__(self, loss=lambda o, t: o.get('lr', 9.), stop=None): self.loss,self.stop,self.calls = loss,stop,[]
    def __call__(self, p, t, found, seconds=None, callbacks=()):
        if self.stop is not None and len(self.calls) == self.stop: raise KeyboardInterrupt
        o = found[t.method]; v = self.loss(o, t); self.calls.append((t, o, seconds, len(callbacks)))
        for c in callbacks:
            c.after_fit(SimpleNamespace(stage='full', best_loss=-1.))
            c.after_fit(SimpleNamespace(stage='low', best_loss=v))
        return TrialResult([dict(stage=s, seconds=1., epochs=1, valid_loss=v+(s == 'full'))
                            for s in ('full','low')], [], {})

JOB = dict(problem='ocean', methods=['random'], quick=True)

def table(out): return read_search(out).drop(columns='seconds')

@pytest.fixture(scope='module')
def searched(tmp_path_factory, quiet):
    out = tmp_path_factory.mktemp('searched')
    return search_options(out, **JOB, n=3),table(out),out

def test_a_search_is_made_of_trials(searched):
    best,t,out = searched
    assert t.number.tolist() == [0, 1, 2] and (t.state == 'complete').all() and (t.error
            == '').all() and t.lr.nunique() == 2 and files(out) == ['options.json','search.csv','search.log']
    assert t.loc[0, [k for k in SETTING_COLUMNS if k in t]].isna().all(), 'the first draw is the package itself'
    p = make('ocean', 100)
    own = json.loads((out/'options.json').read_text())['ocean']['random']
    assert own == best['random'] == read_options(out/'options.json')['ocean']['random']
    assert run_trial(p, Trial('ocean', 'random', seed=100),
                     best).rows[-1]['valid_loss'] == pytest.approx(t.valid_loss.min(),
            rel=1e-12) and t.lr[t.valid_loss.idxmin()] == pytest.approx(best['random'].get('lr', np.nan), nan_ok=True)
    saved = read_trial_table(out/'search.csv', DRAW_COLUMNS)
    pd.testing.assert_frame_equal(saved[['number','lr','l2','valid_loss']],
                                  t[['number','lr','l2','valid_loss']], rtol=1e-4)

def test_a_search_that_goes_on_is_one_search(searched, tmp_path):
    search_options(tmp_path, **JOB, n=2)
    assert search_options(tmp_path, **JOB, n=3) == searched[0]
    pd.testing.assert_frame_equal(table(tmp_path), searched[1])
    before = (tmp_path/'options.json').read_bytes()
    search_options(tmp_path, **JOB, n=3)
    search_options(tmp_path, **JOB, n=1)
    pd.testing.assert_frame_equal(table(tmp_path), searched[1])
    assert (tmp_path/'options.json').read_bytes() == before

def test_two_workers_draw_the_same(searched, tmp_path):
    assert search_options(tmp_path, **JOB, n=3, workers=2) == searched[0]
    pd.testing.assert_frame_equal(table(tmp_path), searched[1])

def test_other_seeds_draw_others(tmp_path):
    [search_options(tmp_path/str(s), **JOB, n=3, seed=s, run=Fake()) for s in (100, 101)]
    a,b = (table(tmp_path/str(s)).lr.dropna() for s in (100, 101))
    assert not set(a)&set(b) and len(a) == 2

def running(out, who):
    "A draw that somebody is at, or was."
    trial = open_study(out, 'ocean random').ask(); trial.set_user_attr('worker', who)

def test_a_draw_whose_worker_is_gone_does_not_count(tmp_path):
    f = Fake()
    search_options(tmp_path, **JOB, n=1, run=f)
    running(tmp_path, f'{socket.gethostname()}:999999999')
    search_options(tmp_path, **JOB, n=3, run=f)
    t = table(tmp_path)
    assert t.number.tolist() == [0, 1, 2] and (t.state == 'complete').all()

@pytest.mark.parametrize('who', ['another-host:999999999', 'this:1'])
def test_a_draw_that_is_in_work_elsewhere_is_left_alone(tmp_path, who):
    f = Fake()
    search_options(tmp_path, **JOB, n=1, run=f)
    running(tmp_path, who.replace('this', socket.gethostname()))
    search_options(tmp_path, **JOB, n=3, run=f)
    t = table(tmp_path)
    assert t.number.tolist() == [0, 1,
                                 2] and t.state.tolist() == ['complete','running','complete'] and len(f.calls) == 2

def test_the_own_settings_are_tried_though_their_draw_was_lost(tmp_path):
    f = Fake()
    running(tmp_path, f'{socket.gethostname()}:999999999')
    search_options(tmp_path, **JOB, n=3, run=f)
    assert {} in [o for _,o,*_ in f.calls]

def test_an_interrupted_search_goes_on_in_the_same_process(tmp_path):
    with pytest.raises(KeyboardInterrupt): search_options(tmp_path, **JOB, n=3, run=Fake(stop=1))
    search_options(tmp_path, **JOB, n=3, run=Fake()); assert (table(tmp_path).state == 'complete').sum() == 3

def test_draws_of_a_number_have_the_same_settings_where_the_ranges_are_the_same(tmp_path):
    search_options(tmp_path, **JOB|dict(methods=SEARCHED), n=3, run=Fake())
    t = table(tmp_path)
    wide = t[t.number > 0].pivot(index='number', columns='method', values='lr')
    assert (wide.mrtl == wide.fixed).all()

def test_a_draw_that_diverged_counts(tmp_path, quiet):
    assert search_options(tmp_path, **JOB, n=3, ranges=dict(lr=(1e30, 1e30))) == dict(random={})
    t = table(tmp_path)
    assert t.state.tolist() == ['complete','fail','fail'] and t.error.str.contains('diverged').tolist() == [False,
            True, True] and t.valid_loss.isna().tolist() == [False, True, True] and (t.lr[1:] == 1e30).all()

def test_a_search_without_a_good_draw(tmp_path, quiet):
    diverged = lambda *a, **k: TrialResult([dict(stage='low', error='training diverged')], [], {})
    with pytest.raises(DataError, match='no draw for ocean came to an end'):
        search_options(tmp_path, **JOB, n=2, run=diverged)
    assert (tmp_path/'search.csv').exists() and not (tmp_path/'options.json').exists()

def test_nothing_is_pruned_unless_asked(tmp_path):
    "Draws that get worse and worse."
    worse = lambda: (lambda n: lambda o, t: next(n))(itertools.count())
    f = Fake(worse())
    search_options(tmp_path/'a', **JOB, n=7, run=f)
    assert (table(tmp_path/'a').state == 'complete').all() and {c[3] for c in f.calls} == {0}
    f = Fake(worse())
    search_options(tmp_path/'b', **JOB, n=7, prune=True, run=f)
    t = table(tmp_path/'b')
    assert t.state.tolist() == ['complete']*5+['pruned']*2 and len(f.calls) == 7 and {c[3] for c in f.calls} == {1}

def test_what_a_draw_is_given(tmp_path):
    f = Fake(lambda o, t: float(t.seed))
    search_options(tmp_path, **JOB, n=2, seed=5, splits=3, minutes=2., run=f)
    t = table(tmp_path)
    assert [c[0].seed for c in f.calls] == [5, 6, 7]*2 and {c[2]
            for c in f.calls} == {120.} and t.valid_loss.tolist() == [6., 6.] and t.full_loss.tolist() == [7.,
            7.] and read_search(tmp_path).seconds.tolist() == [6., 6.] and all(c[0].method == 'random'
            and c[0].variant == '' for c in f.calls)
    f = Fake(); search_options(tmp_path/'none', **JOB, n=1, minutes=.01, run=f); assert f.calls[0][2] == .6

def test_searches_share_a_folder(tmp_path):
    f = Fake()
    a = search_options(tmp_path, **JOB, n=2, run=f)
    b = search_options(tmp_path, 'events', ['mrtl'], n=2, quick=True, run=f)
    c = search_options(tmp_path, **JOB|dict(methods=['fixed']), n=2, run=f)
    t = table(tmp_path)
    assert read_options(tmp_path/'options.json') == dict(ocean=a|c,
            events=b) and t.groupby(['problem','method']).size().tolist() == [2, 2, 2]

@pytest.mark.parametrize('bad', [dict(n=0), dict(workers=0), dict(prune=True, splits=2), dict(problem='weather'),
                                 dict(methods=['random_ladder'])])
def test_a_search_that_cannot_be(tmp_path, bad):
    with pytest.raises(ConfigError): search_options(tmp_path/'out', **JOB|bad)
    assert not (tmp_path/'out').exists()

@pytest.mark.parametrize('text', ['', '[]', '{"weather": {}}', '{"ocean": []}', '{"ocean": {"fixed_equal": {}}}',
                                  '{"ocean": {"mrtl": 1}}'])
def test_options_that_are_none(tmp_path, text):
    (tmp_path/'o.json').write_text(text)
    with pytest.raises(FormatError, match='o.json'): read_options(tmp_path/'o.json')

def test_options_of_two_files(tmp_path):
    a,b = tmp_path/'a.json',tmp_path/'b.json'
    a.write_text('{"ocean": {"mrtl": {"lr": 1}, "fixed": {"lr": 2}}}')
    b.write_text('{"ocean": {"mrtl": {"lr": 3}}, "events": {"random": {}}}')
    assert read_options(f'{a},{b}') == dict(ocean=dict(mrtl=dict(lr=3), fixed=dict(lr=2)), events=dict(random={}))

# ---- the commands

def command(out, *more):
    return ['compare','--quick','--problem','ocean','--methods','mrtl,fixed','--criteria','valid_loss','--seeds','1','--out',str(out), *more]

@pytest.fixture
def short(tmp_path):
    (tmp_path/'short.json').write_text(json.dumps(dict(ocean=SHORT)))
    return '--options',str(tmp_path/'short.json')

def test_compare(tmp_path, capsys, short):
    out = tmp_path/'run'
    assert main(command(out, *short)) == 0
    said = capsys.readouterr().out
    assert ('Claim: coarse to fine' in said and 'ocean, full-rank stage: ' in said and '1 seed, too few' in said
            and '2 trials: ' in said)
    assert (files(out) == ['compare.csv','config.json','curves.csv','finished.json','stability.csv','summary.csv']
            +[f'trials/ocean-{m}-valid_loss-plain-0.mrtl' for m in ('fixed','mrtl')])
    t = read_trial_table(out/'compare.csv', TRIAL_COLUMNS)
    s = pd.read_csv(out/'summary.csv')
    assert t.method.tolist() == ['mrtl','mrtl','fixed','fixed'] and (t.max_epochs
            == 2).all() and set(s[s.score == 'speed-up'].stage) == {'full','low','both'}
    want = tried('ocean')[0].rows[-1]; assert t[(t.method == 'mrtl')&(t.stage == 'low')].digest.item() == want['digest']
    before = {f: (out/f).read_bytes() for f in files(out)}
    assert main(command(out, *short)) == 2 and '--resume' in capsys.readouterr().err
    assert main(command(out, *short, '--resume')) == 0 and {f: (out/f).read_bytes() for f in files(out)} == before
    assert (main(command(out, '--resume')) == 2 and 'another options' in capsys.readouterr().err
            and main(command(out, *short, '--resume', '--minutes', '5')) == 2
            and 'other settings' in capsys.readouterr().err)
    assert {f: (out/f).read_bytes() for f in files(out)} == before
    assert main(command(out, *short, '--resume', '--first-seed', '1', '--methods',
                        'random')) == 0 and len(read_trial_table(out/'compare.csv', TRIAL_COLUMNS)) == 4+1
    assert main([*command(out, *short), '--overwrite', '--methods', 'random', '--first-seed',
                 '3']) == 0 and read_trial_table(out/'compare.csv',
                                                 TRIAL_COLUMNS)[['method','seed']].values.tolist() == [['random', 3]]

def test_a_killed_compare_goes_on(tmp_path, capsys, monkeypatch, short):
    def stop(*a, **k): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(experiments, 'run_trial', stop)
        assert main(command(tmp_path/'run', *short)) == 130 and '--resume' in capsys.readouterr().err
    assert main([*command(tmp_path/'run', *short, '--resume'), '--methods',
                 'random']) == 0 and len(read_trial_table(tmp_path/'run'/'compare.csv', TRIAL_COLUMNS)) == 1

def wanted(out, *more): return ['search','--quick','--problem','ocean','--methods','random','--out',str(out), *more]

def test_search_and_compare(tmp_path, capsys, monkeypatch):
    "What was found is what is compared."
    out = tmp_path/'found'; f = Fake()
    monkeypatch.setattr('mrtl.lab.search.run_trial', f)
    assert main([*wanted(out), '--methods', 'mrtl,random', '--draws', '3', '--seed', '5']) == 0
    said = capsys.readouterr().out
    assert 'mrtl: valid loss ' in said and 'the best of 3 draws' in said and 'options.json' in said and {c[0].seed
            for c in f.calls} == {5}
    assert main([*wanted(out), '--methods', 'mrtl', '--draws', '3', '--seed',
                 '5']) == 2 and '--resume' in capsys.readouterr().err and main([*wanted(out), '--seed', '6',
            '--resume']) == 2 and 'another seed' in capsys.readouterr().err
    assert main([*wanted(out), '--draws', '4', '--seed', '5', '--resume']) == 0 and len(f.calls) == 7
    best = read_options(out/'options.json')['ocean']
    assert best['mrtl']['lr'] == min(c[1].get('lr', 9.) for c in f.calls if c[0].method == 'mrtl')
    assert main([*command(tmp_path/'run', '--options', str(out/'options.json'), '--minutes', '.0001'), '--methods',
                 'mrtl,random,random_smooth']) == 0
    t = read_trial_table(tmp_path/'run'/'compare.csv', TRIAL_COLUMNS)
    q = make('ocean')
    for m in ('mrtl','random','random_smooth'):
        o = method_options(q, m, best); row = t[t.method == m].iloc[-1]; full = o.get('full_options', {})
        for k in ('batch_size','lr','smooth','l2','sigma','lr_decay'):
            assert row[k] == pytest.approx(o[k], rel=1e-5) if k in o else pd.isna(row[k])
        for k in ('lr','smooth','l2'): assert row[f'full_{k}'] == pytest.approx(full.get(k, o[k]), rel=1e-5)
    assert (main([*wanted(out), '--draws', '2', '--seed', '5', '--overwrite']) == 0
            and read_search(out).method.tolist() == ['random']*2
            and set(read_options(out/'options.json')['ocean']) == {'random'})

@pytest.mark.parametrize('problem,names', [('basketball', ('tracking_400games.nc','events_400games.csv.gz','events')), ('southwest', ('kaplan_sst_anomaly_pacific_5deg_1856_2014.nc','hadslp2_slp_pacific_5deg_1871_1998.nc','nclimdiv_precip_1895_2022.nc','ocean'))])
@pytest.mark.parametrize('words', [['compare'], ['search','--draws','1']])
def test_without_the_data(tmp_path, capsys, monkeypatch, problem, names, words):
    monkeypatch.setenv('MRTL_DATA', str(tmp_path))
    assert main([*words, '--problem', problem, '--methods', 'mrtl', '--out', str(tmp_path/'out')]) == 2
    said = capsys.readouterr().err
    assert all(n in said for n in names) and 'MRTL_DATA' in said and not (tmp_path/'out').exists()

# ---- real data

def test_a_negative_number_of_players():
    with pytest.raises(ConfigError, match='players must be at least 2'): basketball_games(0, players=-1)

@pytest.fixture
def real(data, monkeypatch):
    def use(*names): monkeypatch.setenv('MRTL_DATA', str([data(n) for n in names][0].parent.parent))
    return use

@pytest.mark.data
def test_basketball(real):
    real('basketball/tracking_400games.nc', 'basketball/events_400games.csv.gz')
    p = basketball_games(0); game = game_frames().game.values
    rows = p.rows
    assert [m.name for m in p.design.modes] == ['player','court','defender'] and p.design.modes[0].size == 88
    games = {k: set(game[r]) for k,r in rows.items()}
    assert (all(games.values()) and sum(map(len, games.values())) == len(set.union(*games.values()))
            == len(set(game)) and sum(map(len, rows.values())) == len(p.y) == len(game))
    y,w = p.y[rows['train'],0],p.weight[rows['train']]
    assert float(w[y == 1].sum()) == pytest.approx(float(w[y == 0].sum()),
                                                   rel=1e-4) and p.events and p.truth is None and len(p.schedule) == 5

@pytest.mark.data
def test_southwest(real):
    real('climate/kaplan_sst_anomaly_pacific_5deg_1856_2014.nc', 'climate/hadslp2_slp_pacific_5deg_1871_1998.nc',
         'climate/nclimdiv_precip_1895_2022.nc')
    p = southwest_rain(0); grid = p.design.modes[-1].grid
    assert grid.shape == (11, 21) and min(map(len, p.rows.values())) > 0 and set(p.rows) == {'train','valid','test'}
    assert len(set(np.concatenate(list(p.rows.values())))) == sum(map(len,
            p.rows.values())) <= len(p.y) and p.y[p.rows['train']].std(correction=0).item() == pytest.approx(1.,
            abs=1e-5) and not p.events and tuple(p.schedule[-1].values())[0] == (11, 21)
