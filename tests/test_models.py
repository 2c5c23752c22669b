"Models against loops, gradients against plain formulas, and training against other solvers."
import itertools, math
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from mrtl.designs import Batch, FieldDesign, Mode
from mrtl.events import EventDesign
from mrtl.core import ConfigError, DataError, generator
from mrtl.grids import Grid
from mrtl.models import INVERSE_LINKS, LOSSES, FullRank, LowRank
from mrtl.samples import entry_weights
from mrtl.samples import Data
from mrtl.training import Objective, Trainer, evaluate, make_optimizer, parameter_axes, polish

GRIDS = dict(court=Grid((3,4)), defender=Grid((2,2)), space=Grid((3,5), (-20., 40.), (0., 100.), sphere=True,
        mask=[[1,1,0,1,1], [1,1,1,1,0], [0,1,1,1,1]]))

def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=generator('models', seed, *shape), dtype=torch.float64).to(dtype)

def modes(spec):
    "`p3`: three players; `c`, `d`: cells of points; `f2`: two dense features; `s`: a dense map."
    out = []
    for i,k in enumerate(spec.split()):
        if k[0] in 'pf': out.append(Mode(f'{k[0]}{i}', int(k[1:]), indexed=k[0] == 'p'))
        else: g = GRIDS[dict(c='court', d='defender', s='space')[k]]; out.append(Mode(f'{k}{i}', g.D, g, k != 's'))
    return out

def batch(modes, n, bags, dtype):
    "Random inputs, some bags partly or wholly empty, with the dense field last."
    g = generator('batch', n, bags); idx = {}
    for m in modes:
        if not m.indexed: continue
        v = torch.randint(m.size, (n, bags), generator=g); v[torch.rand(n, bags, generator=g) < .25] = -1; v[0] = -1
        idx[m.name] = v
    dense = [m.size for m in modes if not m.indexed]
    return Batch(idx, randn(n, *dense, dtype=dtype) if dense else None)

def by_hand(W, bias, main, modes, b, n, outputs):
    "The score of each sample, one product at a time."
    W = W.double().reshape(*(m.size for m in modes), outputs); out = torch.zeros(n, outputs, dtype=torch.float64)
    first,dense = [m for m in modes if m.indexed],[m for m in modes if not m.indexed]
    for r in range(n):
        for combo in itertools.product(*([i for i in b.idx[m.name][r].tolist() if i >= 0] for m in first)):
            for at in itertools.product(*(range(m.size) for m in dense)):
                out[r] += W[combo+at]*(1. if b.x is None else float(b.x[r][at]))
        out[r] += bias.double()
        for k,t in main.items():
            for i in b.idx[k][r].tolist():
                if i >= 0: out[r] += t[i].double()
    return out

def filled(model, seed=1):
    for i,p in enumerate(model.parameters()): p.data = randn(*p.shape, seed=seed+i, dtype=p.dtype)
    return model

SPECS = ['p3', 'p3 c', 'p3 c d', 's', 'f2 s', 'f2 f3 s', 'f4', 'f2 f3', 'p3 s', 'p3 c f2 s']

@pytest.mark.parametrize('dtype,tol', [(torch.float64, 1e-11), (torch.float32, 2e-4)])
@pytest.mark.parametrize('outputs', [1, 3])
@pytest.mark.parametrize('bags', [1, 3])
@pytest.mark.parametrize('spec', SPECS)
def test_models_are_the_loops(spec, bags, outputs, dtype, tol):
    ms,n = modes(spec),5; b = batch(ms, n, bags, dtype); main = any(m.indexed for m in ms)
    low = filled(LowRank(ms, 2, outputs, main, dtype)); W = low.full().detach()
    brute = sum(torch.einsum(','.join('abcdefg'[:len(low.factors)])+'->'+'abcdefg'[:len(low.factors)],
                             [f[:,k].detach() for f in low.factors]) for k in range(2))
    torch.testing.assert_close(W, brute, rtol=tol, atol=tol)
    full = FullRank(ms, outputs, main, dtype); full.W.data = W; full.bias.data = low.bias.data; full.main = low.main
    want = by_hand(W, low.bias.detach(), dict(low.main), ms, b, n, outputs)
    for m in low,full:
        got = m(b); assert got.shape == (n, outputs) and got.dtype == dtype
        torch.testing.assert_close(got.double(), want, rtol=tol, atol=tol*10)
    if any(m.indexed for m in ms): torch.testing.assert_close(low(b)[0], low.bias)  # empty bags score the bias
    torch.testing.assert_close(low(b)-low(Batch({k: torch.full_like(v, -1) for k,v in b.idx.items()},
                                                None if b.x is None else b.x*0)),
                               (low.components(b)@low.factors[-1].T if outputs
                                > 1 else low.components(b).sum(1, keepdim=True))
        +sum(t[b.idx[k].clamp(min=0)].mul((b.idx[k] >= 0)[...,None]).sum(1) for k,t in low.main.items()), rtol=tol,
        atol=tol*10)

@pytest.mark.parametrize('spec', SPECS)
@pytest.mark.parametrize('outputs', [1, 2])
def test_model_gradients(spec, outputs):
    ms = modes(spec); b = batch(ms, 4, 2, torch.float64)
    for m in LowRank(ms, 2, outputs, any(m.indexed for m in ms), torch.float64),FullRank(ms,
            outputs, False, torch.float64):
        filled(m); names = [k for k,_ in m.named_parameters()]
        assert torch.autograd.gradcheck(lambda *ps: torch.func.functional_call(m, dict(zip(names, ps)), (b,)),
                                        [p.detach().requires_grad_() for p in m.parameters()])

def test_models_refused():
    with pytest.raises(ConfigError, match='indexed modes must come before'): FullRank(modes('s p3'))
    with pytest.raises(ConfigError, match='must be the last'): LowRank(modes('s f2'), 2)
    with pytest.raises(ConfigError, match='main_effects needs indexed modes'):
        LowRank(modes('f2 s'), 2, main_effects=True)

def test_projection():
    low = filled(LowRank(modes('p3 c'), 2)); before = low.factors[1].detach().clone(); low.project_(('p0',))
    assert (low.factors[0] >= 0).all() and torch.equal(low.factors[1], before) and (before < 0).any()

@pytest.mark.parametrize('loss,y', [('squared', 2.), ('logistic', 1.), ('logistic', 0.), ('poisson', 3.)])
def test_losses_are_lowest_at_their_link(loss, y):
    s = torch.linspace(-8, 8, 3201, dtype=torch.float64); at = s[LOSSES[loss](s, torch.tensor(y)).argmin()]
    assert abs(INVERSE_LINKS[loss](at)-y) < .02 and torch.autograd.gradcheck(lambda s: LOSSES[loss](s,
            torch.tensor(y)), (randn(5).requires_grad_(),))
    torch.testing.assert_close(torch.autograd.functional.jacobian(lambda t: LOSSES[loss](t, torch.tensor(y)), at),
                               (INVERSE_LINKS[loss](at)-y)*(2. if loss == 'squared' else 1.))
    assert torch.isfinite(LOSSES[loss](torch.tensor([-80., 80.]), torch.tensor(y))).all()

def test_entry_weights():
    y = torch.tensor([[1., math.nan], [2., 3.], [math.nan, 4.]]); w = [1., 2., 3.]
    want = torch.tensor([[1., 0.], [2., 2.], [0., 3.]], dtype=torch.float64)
    torch.testing.assert_close(entry_weights(y, w), want*6/8); assert entry_weights(y).mean() == 1
    for bad in [1, 2], [1, -1, 1], [0, 0, 0], [1, math.nan, 1], [1, math.inf, 1]:
        with pytest.raises(DataError, match='3 finite numbers'): entry_weights(y, bad)
    with pytest.raises(DataError, match='output 1 has no observed value'): entry_weights(torch.tensor([[1., math.nan]]))
    with pytest.raises(DataError, match='output 0 has no observed value'): entry_weights(y, [0., 0., 1.])

# ---- the objective

def plain(model, smooth, sigma, kernel, l2, l1):
    "The penalties as the notebook writes them, cell by cell; eased where sigma is raised to one cell."
    total = 0.
    for t,axes in parameter_axes(model):
        v = torch.ones_like(t)
        for a,m in enumerate(axes):
            if m is not None and m.grid is not None:
                v = v*m.grid.share.flatten().reshape([-1 if i == a else 1 for i in range(t.ndim)])
        total = total+l2*(v*t**2).sum()+l1*(v*t.abs()).sum()
        for a,m in enumerate(axes):
            if m is None or m.grid is None: continue
            g,s = m.grid,m.grid.share.flatten()
            at = torch.cartesian_prod(torch.from_numpy(g.y_centres), torch.from_numpy(g.x_centres))/g.diagonal
            d = torch.cdist(at, at); s_ = max(sigma, (g.y[1]-g.y[0])/g.h/g.diagonal, (g.x[1]-g.x[0])/g.w/g.diagonal)
            K = (-d**2/(2*s_**2)).exp() if kernel == 'gaussian' else (-d/s_).exp()
            B = t.movedim(a, -1)
            rest = (v/s.clamp(min=1e-300).reshape([-1 if i == a else 1 for i in range(t.ndim)])).movedim(a,
                    -1)[...,:1] if g.mask[0,0] else None
            total = total+smooth*(sigma/s_)**(2+sum(n > 1
                                                    for n in g.shape))*(rest*(s[:,None]*s*K*(B[...,:,None]
                    -B[...,None,:])**2).sum((-2,-1))[...,None]).sum()
    return total

@pytest.mark.parametrize('kernel', ['gaussian', 'exponential'])
@pytest.mark.parametrize('kind', ['full', 'low'])
@pytest.mark.parametrize('spec,outputs', [('f2 s', 1), ('f2 s', 2), ('p3 c d', 1), ('p3 c d', 2), ('s', 1),
                                          ('p3', 2), ('c s', 1)])
def test_penalties_and_their_gradients_are_the_plain_formula(spec, outputs, kind, kernel):
    ms = modes(spec); main = any(m.indexed for m in ms)
    m = filled(FullRank(ms, outputs, main, torch.float64) if kind == 'full' else LowRank(ms, 3,
            outputs, main, torch.float64))
    kw = dict(smooth=.7, sigma=.3, kernel=kernel, l2=.3, l1=.2); ps = list(m.parameters())
    fast,slow = Objective(ms, **kw).penalty(m),plain(m, **kw)
    torch.testing.assert_close(fast, slow, rtol=1e-11, atol=1e-11)
    for p,a,b in zip(ps, *(torch.autograd.grad(v, ps, allow_unused=True) for v in (fast, slow))):
        if p is m.bias: assert a is None and b is None; continue
        assert (a-b).abs().max() < 1e-10*max(1., float(b.abs().max()))

def test_objective_gradcheck():
    ms = modes('p3 c')
    m = filled(LowRank(ms, 2, 1, True, torch.float64))
    names = [k for k,_ in m.named_parameters()]
    o = Objective(ms, smooth=1., l2=.1)
    def J(*ps):
        for k,p in zip(names, ps):
            at,_,leaf = k.rpartition('.')
            m.get_submodule(at)._parameters.pop(leaf, None)
            setattr(m.get_submodule(at), leaf, p) if not at else m.get_submodule(at)._parameters.__setitem__(leaf, p)
        return o.penalty(m)
    assert torch.autograd.gradcheck(J, [p.detach().clone().requires_grad_() for p in m.parameters()])

@pytest.mark.parametrize('kw', [dict(loss='hinge'), dict(smooth=-1), dict(l2=math.nan), dict(l1=math.inf),
                                dict(smooth=1, sigma=0), dict(smooth=1, kernel='box')])
def test_objective_refused(kw):
    with pytest.raises(ConfigError): Objective(modes('f2 s'), **kw)

# ---- data and evaluation

@pytest.mark.parametrize('loss', LOSSES)
def test_evaluate_sums_in_float64(loss):
    ms = modes('f2 s'); n = 10000; x = randn(n, 2, *GRIDS['space'].shape, dtype=torch.float32)
    m = filled(LowRank(ms, 2, 2, dtype=torch.float32))
    y = (randn(n, 2, seed=7) > 0).double()
    y[::3, 0] = math.nan
    w = torch.rand(n, generator=generator(3))+.1
    d = FieldDesign(x, GRIDS['space'], ('f0',), space='s1'); data = Data(d, y, w)
    with torch.no_grad(): s = m(d.batch()).double()
    e = torch.where(y.isnan(), 0., w[:,None].double()); want = float((LOSSES[loss](s, y.nan_to_num())*e).sum()/e.sum())
    # scores are float32, whose rounding depends on the rows at once
    assert evaluate(m, data, loss) == pytest.approx(want, rel=1e-6) and evaluate(m, data, loss,
            chunk=17) == pytest.approx(evaluate(m, data, loss), rel=1e-9)

def test_data_refused():
    d = FieldDesign(randn(5, 3, 5), GRIDS['space'])
    with pytest.raises(DataError, match='5 samples but 4 targets'): Data(d, randn(4, 1))

# ---- training against other solvers

def problem(n=60, p=7, seed=0):
    x = randn(n, 1, p, seed=seed); return FieldDesign(x, Grid((1, p))),x[:,0].numpy(),randn(p, seed=seed+1).numpy()

def trained(design, y, loss, l2, w=None, **kw):
    m = FullRank(design.modes, y.shape[1], dtype=torch.float64)
    Trainer(m, Data(design, y, w, torch.float64), objective=Objective(design.modes, loss, l2=l2),
            **(dict(optimizer='lbfgs', max_epochs=100)|kw)).fit()
    return m

@pytest.mark.parametrize('weighted', [False, True])
def test_lbfgs_is_ridge(weighted):
    d,x,b = problem()
    y = torch.from_numpy(x@b+1.5)[:,None]+.3*randn(60, 1)
    w = torch.linspace(.2, 2, 60).double() if weighted else torch.ones(60).double()
    lam = .05; m = trained(d, y, 'squared', lam, w)
    # scores are means of `beta` over cells, and the norm is a mean as well: with W = beta/p, |beta|^2/p = p |W|^2
    ref = Ridge(alpha=lam*7*float(w.sum())).fit(x, y[:,0], w)
    np.testing.assert_allclose(m.W.detach().numpy()/7, ref.coef_, atol=1e-6)
    assert m.bias.item() == pytest.approx(ref.intercept_, abs=1e-6)

@pytest.mark.parametrize('weighted', [False, True])
def test_lbfgs_is_logistic_regression(weighted):
    d,x,b = problem()
    y = (torch.from_numpy(x@b)[:,None]+randn(60, 1) > 0).double()
    w = torch.linspace(.2, 2, 60).double() if weighted else torch.ones(60).double()
    lam = .02; m = trained(d, y, 'logistic', lam, w)
    ref = LogisticRegression(C=1/(2*lam*7*float(w.sum())), tol=1e-10, max_iter=10000).fit(x, y[:,0], w)
    np.testing.assert_allclose(m.W.detach().numpy()/7, ref.coef_[0], atol=1e-6)
    assert m.bias.item() == pytest.approx(ref.intercept_[0], abs=1e-6)

def test_lbfgs_is_poisson_regression():
    d,x,b = problem(); y = torch.poisson(torch.from_numpy(np.exp(.4*x@b+.5)), generator=generator(5))[:,None]
    lam = .02; m = trained(d, y, 'poisson', lam)
    ref = PoissonRegressor(alpha=2*lam*7, tol=1e-10, max_iter=10000).fit(x, y[:,0])
    np.testing.assert_allclose(m.W.detach().numpy()/7, ref.coef_, atol=1e-5)
    assert m.bias.item() == pytest.approx(ref.intercept_, abs=1e-5)

@pytest.mark.parametrize('name,lr,epochs', [('adam', .05, 300), ('sgd', .5, 300), ('adamw', .05, 300),
                                            ('rmsprop', .05, 300)])
def test_other_optimisers_get_there_too(name, lr, epochs):
    d,x,b = problem(); y = torch.from_numpy(x@b+1.5)[:,None]+.3*randn(60, 1); best = trained(d, y, 'squared', .05)
    m = trained(d, y, 'squared', .05, optimizer=name, lr=lr, lr_decay=.985, batch_size=60,
                max_epochs=epochs, valid=None)
    J = lambda m: evaluate(m, Data(d, y, dtype=torch.float64), 'squared')+.05*float((m.W**2).mean())
    assert J(m) < J(best)*1.05 or name == 'adamw' and J(m) < J(best)*1.2

def test_several_outputs_are_several_ridges():
    d,x,b = problem()
    y = torch.from_numpy(np.stack([x@b, -x@b+x[:,0]], 1))+.3*randn(60, 2)
    y[::4, 1] = math.nan; seen = ~y.isnan()
    m = trained(d, y, 'squared', .05); n = float(seen.sum())
    for o in 0,1:
        # every observed entry counts the same
        k = seen[:,o].numpy(); ref = Ridge(alpha=.05*7*n).fit(x[k], y[seen[:,o], o])
        np.testing.assert_allclose(m.W.detach().numpy()[:,o]/7, ref.coef_, atol=1e-6)

def test_nonnegative_lbfgs():
    d,x,b = problem()
    y = torch.from_numpy(x@b)[:,None]
    m = filled(LowRank(d.modes, 1, 1, dtype=torch.float64))
    m.project_(('space',))
    Trainer(m, Data(d, y, None, torch.float64), objective=Objective(d.modes), optimizer='lbfgs',
            nonnegative=('space',)).fit()
    from scipy.optimize import nnls
    want,_ = nnls(np.c_[x, np.ones(60), -np.ones(60)], y[:,0].numpy())
    assert (m.factors[0] >= 0).all(); np.testing.assert_allclose(m.full().detach().numpy()/7, want[:7], atol=1e-4)

def test_polish():
    A = np.diag([1., 10., 100.]); b = np.ones(3); x = polish(lambda v: A@v-b, np.linalg.solve(A, b)+1e-5)
    np.testing.assert_allclose(A@x, b, atol=1e-12)
    assert polish(lambda v: v*np.nan, np.ones(3)).tolist() == [1, 1, 1]

@pytest.mark.parametrize('kw,error,text', [(dict(optimizer='magic'), ConfigError, "'magic'"),
                                           (dict(optimizer='sparseadam'), ConfigError, 'one of'),
                                           (dict(optimizer='adam', batch_size=0), ConfigError, 'at least 1')])
def test_training_refused(kw, error, text):
    d,x,b = problem(); y = torch.from_numpy(x@b)[:,None]
    with pytest.raises(error, match=text): trained(d, y, 'squared', 0., **kw)
    with pytest.raises(ConfigError): make_optimizer('', None, .1)

def test_a_loss_that_explodes_ends_the_level_with_its_best_state():
    d,x,b = problem()
    y = torch.from_numpy(x@b)[:,None]
    m = FullRank(d.modes, 1, dtype=torch.float64)
    first = {k: v.clone() for k,v in m.state_dict().items()}
    t = Trainer(m, Data(d, y, None, torch.float64), objective=Objective(d.modes), optimizer='sgd',
                lr=1e99, max_epochs=100)
    t.fit()
    assert t.history[-1]['stopped_by']=='diverged' and t.history[-1]['epoch']<10 and all(torch.equal(v, first[k])
            for k,v in m.state_dict().items())
    with pytest.raises(DataError, match='training diverged; lower lr'):
        trained(d, y*1e200, 'squared', 0., optimizer='sgd', lr=.1)

@pytest.mark.parametrize('optimizer', ['adam','sgd'])
def test_frozen_parameters_stay_and_replaced_data_are_seen(optimizer):
    "What a callback may do between epochs: hold a parameter, and give the trainer other rows."
    g = torch.Generator().manual_seed(0); m = [Mode('who', 4, indexed=True),Mode('where', 6, Grid((2,3)), True)]
    rows = lambda: EventDesign({k.name: torch.randint(k.size, (40,1), generator=g) for k in m}, m)
    one,two = (Data(rows(), torch.rand(40, 1, generator=g), dtype=torch.float64) for _ in range(2))
    def fit(second):
        t = Trainer(FullRank(m, dtype=torch.float64), one, objective=Objective(m, l2=.01),
                    optimizer=optimizer, lr=.05, batch_size=40)
        t.model.bias.requires_grad_(False)
        t.epoch = 1; t._epoch(); t.train = second; t.epoch = 2; t._epoch()
        return t.model
    a,b = fit(one),fit(two)
    assert a.bias.item()==0 and not torch.allclose(a.W, b.W)
