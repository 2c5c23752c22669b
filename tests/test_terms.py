"""Sums of terms: gradients against autograd, minima against scikit-learn and closed forms, moves that change no
prediction, weights and posteriors against brute force."""
import math
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from mrtl.core import AbsentError, ConfigError, DataError, ScheduleError
from mrtl.designs import FieldDesign, Mode
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.nodes import Nodes
from mrtl.samples import Samples
from mrtl.bootstrap import block_bootstrap
from mrtl.termmaps import term_maps
from mrtl.terms.canonical import standard
from mrtl.terms.learn import Learning, Rows, ladders, model_at, moved
from mrtl.terms.canonical import centre, components, frequencies
from mrtl.terms.laplace import laplace
from mrtl.terms.model import CURVATURES, Sum, cell_roughness, make_parts
from mrtl.terms.search import weight_gradient
from mrtl.terms.solve import Whitened, coordinates, descend, smooth_draw
from mrtl.terms.spec import Term, as_terms

GRIDS = dict(court=Nodes(np.linspace(0, 8, 5), np.linspace(0, 10, 5), names=('x', 'y')),
             near=Nodes([-2, -1, 0, 1, 3], [-2, 0, 1, 2, 4]), cell=Grid((4, 5), (0, 8), (0, 10)))
MODES = dict(player='player', court=('y', 'x'), cell=('y', 'x'), near=[('r1', 'a1'), ('r2', 'a2')],
             gap='gap', hour='hour')

def events(n=400, seed=0):
    rng = np.random.default_rng(seed)
    t = pd.DataFrame(dict(player=rng.integers(0, 6, n), x=rng.uniform(0, 8, n), y=rng.uniform(0, 10, n),
                          gap=rng.uniform(0, 5, n), hour=rng.uniform(0, 24, n)))
    for k in ('r1', 'a1', 'r2', 'a2'): t[k] = rng.normal(size=n)
    t.loc[::7, 'r2'] = np.nan; t.loc[3, 'gap'] = np.nan
    return t

def of(modes, known): return {k: v for k,v in known.items() if k in modes}

def design(t, **kw):
    grids = GRIDS | dict(gap=Nodes(np.linspace(0, 5, 5), names=('gap',)),
                         hour=Nodes(np.arange(0, 24, 4), names=('hour',), period=24))
    return EventDesign.from_table(t, MODES, grids, dict(player=list(range(6))), **kw)

TERMS = [Term('player', ridge=2.), Term('court', smooth=.01, ridge=.5), Term('near', smooth=.01, ridge=.1),
         Term('hour', smooth=.1, ridge=.2), Term('cell', smooth=.02, ridge=.3),
         Term(('player', 'court'), rank=2, smooth=.03, ridge=dict(player=3., court=1.),
              schedule=[dict(court=(2, 2))]), Term(('court', 'near'), rank=2, smooth=.02, ridge=1.),
         Term(('player', 'gap'), full=True, smooth=.01, ridge=.4),
         Term(('player', 'near', 'gap'), rank=2, smooth=.02, ridge=1.)]

def built(d, y, outputs=1, loss='logistic', terms=TERMS, dtype=np.float64, seed=1):
    ts = as_terms(terms, d.modes, 2); rows = Rows.of(Samples(d, np.asarray(y, float).reshape(len(d), -1)), dtype)
    m = model_at(rows, ts, ladders(ts)[-1], outputs, loss); rng = np.random.default_rng(seed)
    return ts,rows,m,[.3*rng.normal(size=s) for s in m.shapes]

def by_torch(m, F, y, e):
    "The objective as the notebook writes it, for autograd."
    t = [torch.tensor(f, dtype=torch.float64, requires_grad=True) for f in F]
    S = t[-1].expand(len(y), -1); mixes = iter(t[len(m.parts):-1])
    for o,mixed in zip(m.of, m.mixed):
        h = 1.
        for i in o: h = h*(torch.from_numpy(m.parts[i].X.toarray().astype(float))@t[i])
        S = S+(h if len(o) == 1 else h@next(mixes).T if mixed else h.sum(1, keepdim=True))
    Y,w = torch.from_numpy(np.asarray(y, float)),torch.from_numpy(np.asarray(e, float))
    loss = dict(squared=lambda: .5*(S-Y)**2, logistic=lambda: torch.nn.functional.softplus(S)-Y*S,
                poisson=lambda: S.exp()-Y*S)[m.loss]()
    J = (w*loss).sum()
    for p,f in zip(m.parts, t):
        P = sum(v*p.priors[k].toarray() for k,v in p.weights.items() if v)
        J = J+.5*(f*(torch.from_numpy(np.asarray(P, float))@f)).sum()
    for f in t[len(m.parts):-1]: J = J+.5*(f**2).sum()
    J.backward()
    return J.item(),[f.grad.numpy() for f in t]

@pytest.mark.parametrize('loss', ['squared', 'logistic', 'poisson'])
@pytest.mark.parametrize('outputs', [1, 3])
def test_gradient_is_autograds(loss, outputs):
    t = events(); rng = np.random.default_rng(2); y = rng.integers(0, 2, (len(t), outputs)).astype(float); y[5] = np.nan
    _,rows,m,F = built(design(t), y, outputs, loss)
    rows.e = rows.e*rng.uniform(.5, 2, (len(t), 1))
    F = [.3*f for f in F]
    a,b,G = m.objective(F, rows.y, rows.e); J,H = by_torch(m, F, rows.y, rows.e)
    assert abs(a+b-J) < 1e-10*abs(J)
    for g,h in zip(G, H): np.testing.assert_allclose(g, h, atol=1e-10*max(1, np.abs(h).max()))

def test_row_blocks_change_nothing(monkeypatch):
    t = events()
    y = np.random.default_rng(0).integers(0, 2, len(t))
    _,rows,m,F = built(design(t), y)
    whole = m.objective(F, rows.y, rows.e)
    monkeypatch.setattr('mrtl.terms.model.ROWS', 64)
    *_,m,_ = built(design(t), y)
    parts = m.objective(F, rows.y, rows.e)
    assert len(m.cut) == 7
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-12)
    for g,h in zip(parts[2], whole[2]): np.testing.assert_allclose(g, h, atol=1e-9)
    assert np.shares_memory(m.cut[1][1].parts[1].X.data, m.parts[1].X.data) # nothing is copied

@pytest.mark.parametrize('outputs', [1, 2])
def test_tangent_is_a_difference(outputs):
    t = events(); y = np.zeros((len(t), outputs))
    _,rows,m,F = built(design(t), y, outputs)
    D = [np.random.default_rng(3).normal(size=f.shape) for f in F]
    h = 1e-6
    up,down = (m.forward([f+s*h*d for f,d in zip(F, D)])[0] for s in (1, -1))
    np.testing.assert_allclose(m.tangent(F, m.forward(F)[1], D), (up-down)/(2*h), atol=1e-6)

# ---- fields

def fields(n=40, leads=2, seed=0):
    rng = np.random.default_rng(seed)
    return FieldDesign(torch.from_numpy(rng.normal(size=(n, 3, 4, 6))),
                       Grid((4, 6), mask=np.arange(24).reshape(4, 6) != 5), ('variable',), leads=leads)

FIELD_TERMS = [Term('space', smooth=.1, ridge=1.), Term('lead', ridge=1.),
               Term(('variable', 'space'), rank=2, smooth=.1, ridge=1.),
               Term(('lead', 'variable'), full=True, ridge=1.),
               Term(('lead', 'variable', 'space'), rank=2, smooth=.2, ridge=1.),
               Term(('lead', 'space'), full=True, smooth=.1, ridge=.5)]

@pytest.mark.parametrize('leads', [None, 2])
@pytest.mark.parametrize('outputs', [1, 2])
def test_fields_by_loops(leads, outputs):
    d = fields(leads=leads); terms = [t for t in FIELD_TERMS if leads or 'lead' not in t.modes]
    _,rows,m,F = built(d, np.zeros((len(d), outputs)), outputs, 'squared', terms)
    x = d.batch().x.numpy(); x = x if leads else x[:,None]
    S = np.tile(F[-1], (len(d), 1)); mixes = iter(F[len(m.parts):-1])
    names = ['lead', 'variable', 'space']
    for t,o,mixed in zip(terms, m.of, m.mixed):
        # a mode that is left out weighs all its entries alike
        kept = [k for k in names if k in t.modes]; u = x.sum(tuple(1+i for i,k in enumerate(names) if k not in kept))
        if len(o) == 1: S += u.reshape(len(u), -1)@F[o[0]]; continue
        h = np.zeros((len(u), m.parts[o[0]].columns))
        for k in range(h.shape[1]):
            W = np.ones(1)
            for i in o: W = np.outer(W, F[i][:,k]).ravel()
            h[:,k] = u.reshape(len(u), -1)@W
        S += h@next(mixes).T if mixed else h.sum(1, keepdims=True)
    np.testing.assert_allclose(m.forward(F)[0], S, atol=1e-10)
    D = [np.random.default_rng(3).normal(size=f.shape) for f in F]
    up,down = (m.forward([f+s*1e-6*v for f,v in zip(F, D)])[0] for s in (1, -1))
    np.testing.assert_allclose(m.tangent(F, m.forward(F)[1], D), (up-down)/2e-6, atol=1e-6)
    g = np.random.default_rng(4).normal(size=S.shape); G = m.pull(F, *m.forward(F)[1:], g)
    # the way back is the adjoint of the way there
    assert abs(sum((a*b).sum() for a,b in zip(G, D))-(g*m.tangent(F, m.forward(F)[1], D)).sum()) < 1e-8

def test_land_has_no_part_in_fields():
    rough = cell_roughness(fields().grid).toarray()
    assert (rough[5] == 0).all() and (rough[:,5] == 0).all() and np.linalg.eigvalsh(rough).min() > -1e-8

def test_a_globe_closes():
    g = Grid((4, 12), (-40, 40), (0, 360), sphere=True)
    P = cell_roughness(g).toarray().reshape(4, 12, 4, 12)
    shift = np.roll(np.roll(P, 3, 1), 3, 3)
    np.testing.assert_allclose(P, shift, atol=1e-9*np.abs(P).max())
    flat = cell_roughness(Grid((4, 12))).toarray()
    assert abs(np.roll(np.roll(flat.reshape(4, 12, 4, 12), 3, 1), 3, 3)-flat.reshape(4, 12, 4, 12)).max() > .1

def test_cells_are_as_rough_at_every_resolution():
    f = lambda n: (lambda g,v: v@(cell_roughness(g)@v))(Grid((n, n), (0, 1), (0, 1)),
            np.array([[np.sin(2*y)*np.cos(1.5*x) for x in (np.arange(n)+.5)/n] for y in (np.arange(n)+.5)/n]).ravel())
    a,b,c = f(16), f(32), f(64); assert abs(a/c-1) < .02 and abs(b/c-1) < .02

# ---- moves

@pytest.mark.parametrize('term', [Term('court'), Term(('player', 'court'), rank=2), Term(('court', 'near'), rank=2),
                                  Term(('court', 'hour'), full=True), Term(('player', 'court', 'near'), rank=3)],
                         ids=lambda t: t.name)
def test_moving_between_nodes_changes_no_prediction(term):
    d = design(events())
    levels = [dict(court=(2, 2), near=(1, 2), hour=(3,)), dict(court=(2, 4), near=(2, 2), hour=(3,)),
              dict(court=(4, 4), near=(4, 4), hour=(6,))]
    t = Term(term.modes, rank=term.rank, full=term.full, smooth=1., ridge=1.,
             schedule=[{k: v for k,v in l.items() if k in term.modes} for l in levels])
    ts = as_terms([t], d.modes, 2)
    rows = Rows.of(Samples(d, np.zeros((len(d), 1))), np.float64)
    rng = np.random.default_rng(0); F = seen = None
    for level in ladders(ts):
        m = model_at(rows, ts, level, 1, 'logistic')
        F = [rng.normal(size=s) for s in m.shapes] if F is None else [moved(f, p, q)
                for f,p,q in zip(F, old.parts, m.parts)]+F[len(m.parts):]
        S = m.forward(F)[0]; assert seen is None or np.abs(S-seen).max() < 1e-10*np.abs(S).max(); seen,old = S,m

def test_moving_cells_is_a_copy():
    d = design(events())
    ts = as_terms([Term('cell', smooth=1., ridge=1., schedule=[dict(cell=(2, 5)), dict(cell=(4, 5))])], d.modes, 2)
    rows = Rows.of(Samples(d, np.zeros((len(d), 1))), np.float64)
    a,b = (model_at(rows, ts, l, 1, 'logistic') for l in ladders(ts))
    F = [np.random.default_rng(0).normal(size=s) for s in a.shapes]
    np.testing.assert_allclose(b.forward([moved(F[0], a.parts[0], b.parts[0]), F[1]])[0], a.forward(F)[0], atol=1e-12)

# ---- the solver

def test_whitened_coordinates():
    for H in (Nodes(range(5), range(6)).roughness()*.1+sparse.eye(30), sparse.diags(np.arange(1., 9)),
              Nodes(np.arange(6), period=6).roughness()+sparse.eye(6)):
        w,H = Whitened(H),H.toarray(); U = w.into(np.eye(len(H)))
        np.testing.assert_allclose(U.T@U, H, atol=1e-9*np.abs(H).max())
        v = np.random.default_rng(0).normal(size=(len(H), 3))
        np.testing.assert_allclose(U@w.out(v), v, atol=1e-8)
        np.testing.assert_allclose(U.T@w.back(v), v, atol=1e-8)

def test_a_list_is_scikit_learns_ridge():
    t = events(3000); rng = np.random.default_rng(0)
    odds = np.array([-1, 0, 1, .5, 2, -.5])[t.player]
    y = (rng.random(len(t)) < 1/(1+np.exp(-odds))).astype(int)
    d = EventDesign.from_table(t, dict(player='player'), labels=dict(player=list(range(6))))
    m = MRTLClassifier(terms=[Term('player', ridge=2.)]).fit(d, y)
    ref = LogisticRegression(C=1/2., tol=1e-10, max_iter=5000).fit(np.eye(6)[t.player], y)
    p = ref.predict_proba(np.eye(6)[t.player])
    np.testing.assert_allclose(m.predict_proba(d), p, atol=1e-5)

def test_a_gaussian_map_is_the_closed_form():
    t = events(600); rng = np.random.default_rng(0); y = np.sin(t.x)+.1*t.y+.1*rng.normal(size=len(t)); d = design(t)
    m = MRTLRegressor(terms=[Term('court', smooth=.05, ridge=.3)]).fit(d, y.values)
    z = (y-y.mean())/y.std(ddof=0); X = d.weights['court'].toarray()
    A = np.block([[X.T@X+.05*GRIDS['court'].roughness().toarray()+.3*np.diag(GRIDS['court'].share),
                   X.sum(0)[:,None]], [X.sum(0)[None], np.array([[len(t)]])]])
    f = np.linalg.solve(A, np.r_[X.T@z, z.sum()])
    np.testing.assert_allclose(m.predict(d), y.mean()+y.std(ddof=0)*(X@f[:-1]+f[-1]), atol=1e-4*y.std())

def test_same_minimum_in_another_order():
    t = events(2000); rng = np.random.default_rng(0)
    y = (rng.random(len(t)) < 1/(1+np.exp(1-.3*t.x))).astype(int)
    d = design(t)
    terms = [Term('player', ridge=2.), Term('court', smooth=.01, ridge=.5), Term('hour', smooth=.1, ridge=.2)]
    a,b = (MRTLClassifier(terms=v).fit(d, y).predict_proba(d)[:,1] for v in (terms, terms[::-1]))
    np.testing.assert_allclose(a, b, atol=1e-4)

# ---- components

def test_centring_and_components_keep_scores():
    t = events()
    d = EventDesign.from_table(t, {k: v for k,v in MODES.items() if k != 'cell'},
                               of(('court', 'near'), GRIDS) | dict(gap=Nodes(np.linspace(0, 5, 5)),
            hour=Nodes(np.arange(0, 24, 4), period=24)), dict(player=list(range(6))), outside='clip')
    terms = [x for x in TERMS if 'cell' not in x.modes]+[Term('gap', smooth=.1, ridge=.1)]
    _,_,m,F = built(d, np.zeros(len(t)), terms=terms)
    found = [frequencies(p) for p in m.parts]; w,whole = [a for a,_ in found],[b for _,b in found]; S = m.forward(F)[0]
    C = centre(m, F, w, whole); np.testing.assert_allclose(m.forward(C)[0], S, atol=1e-9)
    for o in m.of:
        if len(o) == 2:
            for i,j in (o, o[::-1]):
                if whole[i] and m.parts[j].modes[0].name in ('player', 'court', 'near'):
                    assert np.abs(w[i]@C[i]).max() < 1e-9
    G = standard(m, C, w); np.testing.assert_allclose(m.forward(G)[0], S, atol=1e-9)
    pair = m.of[5]
    W = C[pair[0]]@C[pair[1]].T*np.sqrt(np.outer(w[pair[0]], w[pair[1]]))
    s,f = components([C[i] for i in pair], [w[i] for i in pair])
    # strengths are singular values of the weighted term
    np.testing.assert_allclose(s, np.linalg.svd(W)[1][:2], rtol=1e-8)
    np.testing.assert_allclose(f[0].T@(w[pair[0]][:,None]*f[0]), np.eye(2), atol=1e-8)

# ---- weights and posterior

def test_weight_gradient_is_a_difference():
    t = events(1500); rng = np.random.default_rng(0)
    y = (rng.random(len(t)) < 1/(1+np.exp(1-.5*np.sin(t.x)-.2*(t.player-2)))).astype(int)
    d = design(t)
    terms = [Term('player', ridge=2.), Term('court', smooth=.01, ridge=.5)]; half = np.arange(len(t)) < 900
    ts,tr,_,_ = built(d.take(half), y[half], terms=terms); _,va,_,_ = built(d.take(~half), y[~half], terms=terms)
    def solve(weights):
        m,h = (model_at(r, ts, ladders(ts)[-1], 1, 'logistic') for r in (tr, va))
        for p,w in zip(m.parts, weights): p.weights = dict(w)
        F,_ = descend(m, m.zeros(), tr.y, tr.e, 3000, 1e-15, 1e-9); return m,h,F
    start = [dict(p.weights) for p in model_at(tr, ts, ladders(ts)[-1], 1, 'logistic').parts]; m,h,F = solve(start)
    import mrtl.terms.search as search
    value,slope = weight_gradient(m, F, tr.y, tr.e, h, va.y, va.e)
    for i,part in enumerate(start):
        for k in part:
            side = []
            for s in (1, -1):
                w = [dict(v) for v in start]; w[i][k] *= math.exp(s*1e-3)
                _,h2,F2 = solve(w)
                side.append(weight_gradient(m, F2, tr.y, tr.e, h2, va.y, va.e)[0])
            assert slope[i][k] == pytest.approx((side[0]-side[1])/2e-3, rel=.05, abs=2e-6)

def test_posterior_is_the_inverse_curvature():
    t = events(2000); rng = np.random.default_rng(0)
    y = (rng.random(len(t)) < .3).astype(int)
    d = design(t)
    terms = [Term('player', ridge=2.), Term('court', smooth=.01, ridge=.5)]
    _,rows,m,_ = built(d, y, terms=terms)
    F,_ = descend(m, m.zeros(), rows.y, rows.e, 1000, 1e-12)
    post = laplace(m, F, rows.y, rows.e, draws=4000)
    X = np.concatenate([p.X.toarray() for p in m.parts]+[np.ones((len(t), 1))], 1)
    w = CURVATURES['logistic'](m.forward(F)[0])[:,0]
    H = X.T@(w[:,None]*X); at = 0; D = H.copy()
    for p in m.parts: H[at:at+p.size,at:at+p.size] += p.precision().toarray(); at += p.size
    exact = np.sqrt(np.diag(np.linalg.inv(H)))
    seen = np.std([np.concatenate([f.ravel() for f in v]) for v in post.draws], 0)
    np.testing.assert_allclose(seen, exact, rtol=.1)
    assert post.parameters == pytest.approx(np.trace(np.linalg.solve(H, D)), rel=.05) and post.effect == 1

def test_groups_that_are_alike_widen_the_posterior():
    t = events(600); rng = np.random.default_rng(0)
    y = (rng.random(len(t)) < .3).astype(int)
    many = pd.concat([t]*5, ignore_index=True)
    group = np.tile(np.arange(len(t)), 5)
    d = design(many)
    _,rows,m,_ = built(d, np.tile(y, 5), terms=[Term('player', ridge=2.), Term('court', smooth=.01, ridge=.5)])
    F,_ = descend(m, m.zeros(), rows.y, rows.e, 1000, 1e-12)
    assert 3 < laplace(m, F, rows.y, rows.e, group).effect < 7 and laplace(m, F, rows.y, rows.e,
            rng.permutation(group)).effect < 1.6

# ---- through the estimators

def planted(n=30000, seed=0):
    rng = np.random.default_rng(seed)
    t = pd.DataFrame(dict(player=rng.integers(0, 20, n), x=rng.uniform(0, 8, n), y=rng.uniform(0, 10, n),
                          a1=rng.uniform(-2, 3, n), r1=rng.uniform(-2, 4, n)))
    like = rng.normal(size=20)
    left,near = lambda t: np.sin(np.pi*t.y/10*2)*np.exp(-t.x/8), lambda t: np.exp(-(t.a1**2+t.r1**2)/2)
    deep = lambda t: np.cos(np.pi*t.x/8)
    s = -1+.8*np.cos(t.x/3)+like[t.player]*left(t)*1.2+1.5*deep(t)*(near(t)-near(t).mean())
    return t.assign(label=(rng.random(n) < 1/(1+np.exp(-s))).astype(int)),like,left,near,deep

PAIRS = dict(player='player', court=('y', 'x'), near=('r1', 'a1'))
def pair_design(t):
    return EventDesign.from_table(t, PAIRS, of(PAIRS, GRIDS), dict(player=list(range(20))), outside='clip')
PAIR_TERMS = [Term('player', ridge=2.), Term('court', smooth=.01, ridge=.5), Term('near', smooth=.01, ridge=.5),
              Term(('player', 'court'), rank=1, smooth=.01, ridge=1.),
              Term(('court', 'near'), rank=1, smooth=.01, ridge=1.)]

@pytest.fixture(scope='module')
def twin():
    t,*truth = planted(); d = pair_design(t); return t,truth,d,MRTLClassifier(terms=PAIR_TERMS).fit(d, t.label.values)

def test_planted_pairs_are_found(twin):
    t,(like,left,near,deep),d,m = twin; f = m.factors_
    yy,xx = np.meshgrid(*GRIDS['court'].axes, indexing='ij')
    cos = lambda a,b: abs(np.corrcoef(np.ravel(a), np.ravel(b))[0,1])
    assert cos(f['player:court'].player_loading[:,0], like) > .95
    assert cos(f['player:court'].court[...,0], left(pd.DataFrame(dict(x=yy.ravel(), y=xx.ravel())))) > .9
    assert cos(f['court:near'].court[...,0], deep(pd.DataFrame(dict(x=yy.ravel())))) > .9
    aa,rr = np.meshgrid(*GRIDS['near'].axes, indexing='ij')
    assert cos(f['court:near'].near[...,0], near(pd.DataFrame(dict(a1=aa.ravel(), r1=rr.ravel())))) > .9
    assert all(k in m.levels_[-1]['stability'] for k in f) and min(m.levels_[-1]['stability'][k]
            for k in ('court', 'player:court', 'court:near')) > .85

def test_a_file_holds_it_all(twin, tmp_path):
    t,_,d,m = twin; m.save(tmp_path/'m.mrtl')
    again = MRTLClassifier.load(tmp_path/'m.mrtl')
    assert np.array_equal(again.predict_proba(d), m.predict_proba(d))
    assert all(again.factors_[k].identical(v) for k,v in m.factors_.items()) and all(again.coef_[k].identical(v)
            for k,v in m.coef_.items()) and again.terms_ == m.terms_
    assert all(again.coef_std_[k].equals(v)
               for k,v in m.coef_std_.items()) and again.get_params()['terms'] == m.get_params()['terms']
    raw = bytearray((tmp_path/'m.mrtl').read_bytes()); raw[len(raw)//2] ^= 1; (tmp_path/'bad.mrtl').write_bytes(raw)
    with pytest.raises(Exception, match='altered|damaged'): MRTLClassifier.load(tmp_path/'bad.mrtl')

def test_what_is_shown_predicts(twin):
    t,_,d,m = twin; part = t.iloc[:200]
    z = np.full(200, float(m.factors_['player'].bias[0]))
    X = {k: v[:200].toarray() for k,v in d.weights.items()}
    X['player'] = np.eye(20)[part.player]
    for name,c in m.coef_.items():
        W = c.values.reshape([X[k].shape[1] for k in name.split(':')])
        z += X[name]@W if W.ndim == 1 else np.einsum('np,pq,nq->n', X[name.split(':')[0]], W, X[name.split(':')[1]])
    np.testing.assert_allclose(m.decision_function(d.take(np.arange(200))), z, atol=1e-8)
    parts = m.fitted_.contributions(d.take(np.arange(200)))
    np.testing.assert_allclose(sum(parts.values())[:,0]+float(m.factors_['player'].bias[0]), z, atol=1e-8)
    assert m.transform(d).shape == (len(t), 5)

def test_same_seed_same_bits(twin):
    t,_,d,m = twin; small = d.take(np.arange(3000))
    a,b = (MRTLClassifier(terms=PAIR_TERMS, random_state=3).fit(small, t.label.values[:3000]).predict_proba(small)
           for _ in range(2))
    assert np.array_equal(a, b)

def test_a_stranger_is_the_average_player(twin):
    t,_,d,m = twin; one = t.iloc[:300]
    p = m.decision_function(pair_design(one.assign(player=99)))
    each = np.mean([m.decision_function(pair_design(one.assign(player=k))) for k in range(20)], 0)
    np.testing.assert_allclose(p, each, atol=.1)

def test_weights_are_found(twin):
    t,_,d,m = twin
    tr,va,te = np.arange(4000),np.arange(4000, 6000),np.arange(6000, 12000)
    y = t.label.values
    bare = [Term(x.modes, rank=x.rank) for x in PAIR_TERMS]
    found = MRTLClassifier(terms=bare, init='random').fit(d.take(tr), y[tr], valid=(d.take(va), y[va]))
    score = lambda m: log_loss(y[te], m.predict_proba(d.take(te)))
    given = MRTLClassifier(terms=PAIR_TERMS).fit(d.take(tr), y[tr]); assert score(found) < score(given)+.003
    assert all(v is not None for x in found.terms_
               for v in x.ridge.values()) and (found.history_.stage == 'weights').sum() > 3
    again = MRTLClassifier(terms=bare, init='random', refit=True).fit(d.take(tr), y[tr], valid=(d.take(va), y[va]))
    assert again.terms_ == found.terms_ and score(again) < score(found)+.001

def test_full_start_is_as_good(twin):
    t,_,d,m = twin; ladder = [dict(court=(2, 2), near=(2, 2)), dict(court=(4, 4), near=(4, 4))]; y = t.label.values
    a = MRTLClassifier(terms=PAIR_TERMS, schedule=ladder).fit(d, y)
    b = MRTLClassifier(terms=PAIR_TERMS, init='random').fit(d, y)
    assert [l['stage'] for l in a.levels_] == ['full', 'low',
                                               'low'] and abs(a.levels_[-1]['best_loss']
            -b.levels_[-1]['best_loss']) < 1e-3 and abs(a.levels_[-1]['jump']) < 1e-6

def test_by_default_nothing_depends_on_the_start(twin):
    t,_,_,_ = twin; n = 4000
    fine = dict(court=Nodes(np.linspace(0, 8, 13), np.linspace(0, 10, 13)), near=GRIDS['near'])
    d = EventDesign.from_table(t[:n], PAIRS, fine, dict(player=list(range(20))), outside='clip')
    a,b = (MRTLClassifier(terms=PAIR_TERMS, random_state=k).fit(d, t.label.values[:n]) for k in (0, 1))
    assert [l['stage'] for l in a.levels_] == ['full', 'low', 'low',
                                               'low'] and np.array_equal(a.predict_proba(d), b.predict_proba(d))
    c = MRTLClassifier(terms=PAIR_TERMS, init='random', random_state=1).fit(d, t.label.values[:n])
    assert abs(c.levels_[-1]['best_loss']-a.levels_[-1]['best_loss']) < 2e-3

def test_evidence_takes_the_validation_rows_in():
    d = fields(90)
    y = np.random.default_rng(0).normal(size=len(d))
    tr,va = np.arange(60),np.arange(60, len(d))
    fit = lambda **kw: MRTLRegressor(method='evidence', rank=2, **kw)
    a = fit(refit=True).fit(d.take(tr), y[tr], valid=(d.take(va), y[va]))
    np.testing.assert_allclose(a.predict(d), fit().fit(d, y).predict(d), atol=1e-8)
    assert not np.allclose(a.predict(d), fit().fit(d.take(tr), y[tr]).predict(d))

def test_a_planted_product_is_told_from_pairs():
    "Where the truth is one product of three modes, validation prefers the model of one product."
    t,like,left,near,deep = planted(20000, 1)
    rng = np.random.default_rng(5)
    s = -1+2.5*like[t.player]*left(t)*near(t)
    y = (rng.random(len(t)) < 1/(1+np.exp(-s))).astype(int)
    d = pair_design(t)
    tr,va = np.arange(14000),np.arange(14000, 20000)
    loss = lambda m: log_loss(y[va], m.fit(d.take(tr), y[tr]).predict_proba(d.take(va)))
    product = MRTLClassifier(terms=[Term(('player', 'court', 'near'), rank=1, smooth=.01, ridge=1.)])
    assert loss(product) < loss(MRTLClassifier(terms=PAIR_TERMS))-.005

def test_regression_counts_and_outputs():
    t,like,left,near,deep = planted(6000)
    d = pair_design(t); rng = np.random.default_rng(0)
    s = .5*np.cos(t.x/3)+.5*like[t.player]*left(t)
    y = (s+.2*rng.normal(size=len(t))).values; r = MRTLRegressor(terms=PAIR_TERMS).fit(d, y); assert r.score(d, y) > .7
    mean,std = r.predict(d, return_std=True); assert .9 < (np.abs(y-mean) < 1.96*std).mean() < .99
    two = MRTLRegressor(terms=PAIR_TERMS).fit(d, np.stack([y, -2*y], 1))
    assert two.score(d, np.stack([y, -2*y], 1)) > .7 and two.factors_['player:court'].sizes['output'] == 2
    c = rng.poisson(np.exp(s))
    p = MRTLRegressor(terms=PAIR_TERMS, loss='poisson').fit(d, c)
    assert abs(p.predict(d).mean()-c.mean()) < .02 and p.predict(d, return_std=True)[1].shape == (len(t),)

def test_fields_take_terms(tmp_path):
    d = fields(200); rng = np.random.default_rng(0)
    x = d.batch().x.numpy()
    map_ = np.exp(-((np.arange(24)//6-1)**2+(np.arange(24)%6-3)**2)/3)
    y = x[:,0,0]@map_*5+x[:,:,1].sum(1)@map_[::-1]*3+.05*rng.normal(size=len(d))
    w = dict(rank=2, smooth=.05, ridge=1.)
    m = MRTLRegressor(terms=[Term('space', smooth=.05, ridge=1.), Term(('variable', 'space'), **w),
                             Term(('lead', 'variable', 'space'), **w)]).fit(d, y)
    assert m.score(d, y) > .6 and set(m.coef_) == {'space', 'variable:space', 'lead:variable:space'}
    m.save(tmp_path/'f.mrtl')
    assert np.array_equal(MRTLRegressor.load(tmp_path/'f.mrtl').predict(d),
                          m.predict(d)) and np.isnan(m.coef_['space'].values[0,5])
    with pytest.raises(AbsentError): m.coef_std_
    found = MRTLRegressor(terms=['space']).fit(d.take(np.arange(90)), y[:90])
    assert found.terms_[0].smooth['space'] > 0 and found.score(d, y) < m.score(d, y)

def test_intervals_hold():
    "Planted effects of players and of places lie in nine intervals of ten, whether they are zero or not."
    hit = dict(player=[], court=[]); nodes = GRIDS['court']
    for seed in range(4):
        rng = np.random.default_rng(seed); n = 6000
        t = pd.DataFrame(dict(player=rng.integers(0, 30, n), x=rng.uniform(0, 8, n), y=rng.uniform(0, 10, n)))
        like = rng.normal(size=30)*(np.arange(30) < 20)
        f = np.linalg.solve(np.linalg.cholesky(.05*nodes.roughness().toarray()+3*np.diag(nodes.share)).T,
                            rng.normal(size=nodes.D))
        d = EventDesign.from_table(t, dict(player='player', court=('y', 'x')), of(('court',), GRIDS),
                                   dict(player=list(range(30))))
        M = d.weights['court']@f
        y = (rng.random(n) < 1/(1+np.exp(1-like[t.player]-M))).astype(int)
        m = MRTLClassifier(terms=[Term('player', ridge=1.), Term('court', smooth=.05, ridge=3.)]).fit(d, y)
        w = d.weights['court'].toarray().mean(0); truth = dict(player=like-like[t.player].mean(), court=f-w@f)
        for k,v in truth.items():
            hit[k].append(np.abs(m.coef_[k].values.ravel()-v) < 1.645*m.coef_std_[k].values.ravel())
    assert all(.8 < np.mean(v) < .98 for v in hit.values()), {k: np.mean(v) for k,v in hit.items()}

def test_pictures_and_pages(twin, tmp_path):
    t,_,d,m = twin; fig = m.plot('planted pairs')
    titles = [ax.get_title(loc='left') for ax in fig.axes]
    assert {'player', 'court', 'near'} <= set(titles) and any(s.startswith('player x court, component 1')
            for s in titles)
    assert any('10 of 20 shown' in ax.get_xlabel() for ax in fig.axes) # a list says that it leaves out entries
    few = d.take(np.arange(500))
    m.report(tmp_path/'page.html', few, t.label.values[:500])
    page = (tmp_path/'page.html').read_text()
    assert 'What it learnt: the terms' in page and 'auc' in page and page.count('<img') >= 6
    seen = []
    fig = term_maps({'court': m.factors_['court']}, draw=dict(court=lambda ax: seen.append(ax)))
    assert len(seen) == 1
    with pytest.raises(DataError): term_maps({})
    with pytest.raises(ConfigError, match='sum of terms'):
        block_bootstrap(m, few, t.label.values[:500], np.arange(500)//50, 2)
    with pytest.raises(AbsentError, match='sum of terms'): m.cp_tensor_

@pytest.mark.parametrize('outputs', [1, 2])
def test_coefficients_of_fields_are_in_the_units_of_the_data(outputs):
    d = fields(120)
    unit = torch.tensor([1., 10., .1]).double()[:,None,None]
    d = FieldDesign(torch.where(d.grid.mask, d.u/d.grid.share.clamp(min=1e-12), 0)*unit, d.grid, ('variable',), leads=2)
    y = np.random.default_rng(0).normal(size=(len(d), outputs))
    terms = [Term('variable', ridge=1.), Term(('variable', 'space'), rank=2, smooth=.1, ridge=1.),
             Term(('lead', 'variable'), full=True, ridge=1.),
             Term(('lead', 'variable', 'space'), rank=2, smooth=.1, ridge=1.)]
    m = MRTLRegressor(terms=terms).fit(d, y if outputs > 1 else y[:,0]); x = d.batch().x.numpy(); z = 0.
    for name,c in m.coef_.items():
        kept = name.split(':')
        u = x.sum(tuple(1+i for i,k in enumerate(('lead', 'variable', 'space')) if k not in kept))
        C = np.nan_to_num(c.values).reshape(u[0].size, -1)
        z = z+u.reshape(len(u), -1)@C
    left = m.predict(d).reshape(len(d), -1)-z; np.testing.assert_allclose(left, left[:1].repeat(len(d), 0), atol=1e-9)

# ---- refusals

@pytest.mark.parametrize('kw,says',
                         [(dict(terms=['shooter']), 'have the modes'), (dict(terms=[]), 'terms is empty'),
                          (dict(terms=['player'], lr=.1), 'does not read lr'),
                          (dict(terms=['player'], optimizer='adam'), 'L-BFGS'),
    (dict(terms=['player'], method='evidence'), 'knows neither'),
    (dict(terms=[Term('court', schedule=[(3, 3)])]), 'divide'), (dict(terms=['player', 'player']), 'two terms')])
def test_refusals(twin, kw, says):
    t,_,d,_ = twin
    with pytest.raises(ValueError, match=says): MRTLClassifier(**kw).fit(d.take(np.arange(500)), t.label.values[:500])

def test_other_nodes_are_refused(twin):
    t,_,d,m = twin
    other = EventDesign.from_table(t, PAIRS,
                                   of(PAIRS, GRIDS) | dict(court=Nodes(np.linspace(0, 9, 5), np.linspace(0, 10, 5),
            names=('x', 'y'))), dict(player=list(range(20))), outside='clip')
    with pytest.raises(DataError, match='has the nodes'): m.predict(other)

def test_a_single_product_is_no_sum_for_terms():
    with pytest.raises(AbsentError):
        MRTLRegressor(max_epochs=2, method='sgd').fit(np.random.default_rng(0).normal(size=(30, 4, 4)),
                                                      np.arange(30.)).terms_
