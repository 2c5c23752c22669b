"""Sums of terms under attack: each case once gave a wrong number without a word, or an error that said nothing."""
import numpy as np, pandas as pd, pytest
from mrtl.basketball.rivals import INPUTS
from mrtl.basketball.termcourt import court_probability
from mrtl.basketball.terms import clock_terms, term_design
from mrtl.core import ConfigError, DataError
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.nodes import Nodes
from mrtl.problems import Problem
from mrtl.runs import open_run, read_run, run_problem
from mrtl.samples import Samples
from mrtl.terms.canonical import components
from mrtl.terms.learn import Learning, Rows, folds_of, joined, ladders, model_at
from mrtl.terms.laplace import laplace
from mrtl.terms.model import cell_roughness
from mrtl.terms.search import WeightSearch, hessian
from mrtl.terms.solve import coordinates, to_slopes, to_values
from mrtl.terms.spec import Term, as_terms

N = 240
MODES = dict(side='side', player='player', court=('y', 'x'), gap='gap')
NODES = dict(court=Nodes(np.linspace(0, 8, 5), np.linspace(0, 10, 5), names=('x', 'y')),
             gap=Nodes(np.linspace(0, 5, 5)))
LABELS = dict(side=['l', 'r'], player=list(range(5)))
W = dict(smooth=.05, ridge=1.)

@pytest.fixture(scope='module')
def data():
    rng = np.random.default_rng(0)
    t = pd.DataFrame(dict(side=rng.choice(['l', 'r'], N), player=rng.integers(0, 5, N), x=rng.uniform(0, 8, N),
                          y=rng.uniform(0, 10, N), gap=rng.uniform(0, 5, N)))
    y = (np.where(t.side == 'l', 1, -1)*np.sin(t.x)+.1*rng.normal(size=N)).values
    return t,EventDesign.from_table(t, MODES, NODES, LABELS),y

def test_a_mode_shorter_than_the_rank(data, tmp_path):
    _,d,y = data; terms = [Term('side', ridge=1.), Term(('side', 'court'), **W), Term(('side', 'player'), ridge=1.)]
    m = MRTLRegressor(rank=8, terms=terms, init='random').fit(d, y); assert m.score(d, y) > .8
    assert m.factors_['side:court'].sizes['component'] == 2 and m.coef_std_['side:court'].shape == (2, 5, 5)
    z = sum(m.fitted_.contributions(d).values())+float(m.factors_['side'].bias[0])
    np.testing.assert_allclose(m.predict(d), z[:,0], atol=1e-9)
    m.save(tmp_path/'m.mrtl'); assert np.array_equal(MRTLRegressor.load(tmp_path/'m.mrtl').predict(d), m.predict(d))

def test_a_weight_of_four_is_four_rows(data):
    _,d,y = data; terms = [Term('side', ridge=1.), Term('court', **W)]; four = np.repeat(np.arange(N), 4)
    a,b = MRTLRegressor(terms=terms).fit(d, y,
                                         sample_weight=np.full(N, 4.)),MRTLRegressor(terms=terms).fit(d.take(four),
            y[four])
    for u,v in zip(a.predict(d, return_std=True), b.predict(d, return_std=True)):
        np.testing.assert_allclose(u, v, rtol=.02, atol=1e-6)
    np.testing.assert_allclose(a.coef_std_['side'], b.coef_std_['side'], rtol=1e-6)

def test_folds_of_one_group_and_of_few_rows(data):
    _,d,y = data; s = Samples(d, y[:,None])
    assert len(folds_of(s, None, 0, np.zeros(N))) == 5
    for n in (2, 3, 7, 19):
        for seed in range(8): assert len(folds_of(s.take(np.arange(n)), None, seed, None)) == min(n, 5)
    pairs = folds_of(s, None, 0, np.arange(N)//40); assert all(len(a)+len(b) == N and len(b)%40 == 0 for a,b in pairs)

def test_other_labels_are_refused(data):
    t,d,y = data; m = MRTLRegressor(terms=[Term('side', ridge=1.)]).fit(d, y)
    swapped = EventDesign.from_table(t, MODES, NODES, LABELS | dict(side=['r', 'l']))
    assert np.array_equal(m.predict(swapped), m.predict(d)) # put right by name
    foreign = EventDesign.from_table(t.assign(side='z'), MODES, NODES, LABELS | dict(side=['z']))
    with pytest.raises(DataError, match='labels z, but'): m.predict(foreign)
    assert np.array_equal(m.predict(EventDesign.from_table(t, MODES, like=d)), m.predict(d))

def test_groups_count_after_a_refit(data):
    _,d,_ = data; g = np.arange(N)//20; y = np.random.default_rng(0).normal(size=12)[g]; half = np.arange(N) < 160
    fit = lambda **kw: MRTLRegressor(terms=[Term('side', ridge=1.), Term('player', ridge=1.)],
                                     **kw).fit(d.take(half), y[half], valid=(d.take(~half), y[~half]),
                                               groups=g[half].astype(str))
    assert fit().fitted_.facts['effect'] > 2 and fit(refit=True).fitted_.facts['effect'] > 1.5
    both = joined(Samples(d.take(half), y[half,None], groups=g[half]), Samples(d.take(~half), y[~half,None]))
    assert len(np.unique(both.groups)) == 8+80

def test_rows_without_a_target_do_not_stop_a_refit(data):
    _,d,y = data; y = y.copy(); y[100:110] = np.nan
    p = Problem(d, y, dict(train=np.arange(100), valid=np.arange(110, 180), test=np.arange(180, N)),
                groups=np.arange(N)//20)
    m = p.fit(p.estimator(terms=[Term('side', ridge=1.)]))
    known = np.isfinite(y)
    np.testing.assert_allclose(p.refit(m).predict(d),
                               MRTLRegressor(terms=[Term('side', ridge=1.)]).fit(d.take(known), y[known]).predict(d))

def test_a_clock_that_is_not_given_adds_nothing():
    rng = np.random.default_rng(0); n = 900
    t = pd.DataFrame({k: rng.uniform(0, 5, n) for k in INPUTS['clocks']} | dict(player=rng.choice([0, 1], n),
            shot_clock=rng.uniform(0, 24, n)))
    t.loc[::3,'shot_clock'] = np.nan; y = (rng.random(n) < np.where(t.shot_clock.isna(), .8, .2)).astype(int)
    m = MRTLClassifier(terms=[Term('player', ridge=2.), *clock_terms()]).fit(term_design(t, [0, 1], 'clocks'), y)
    odds = lambda **kw: np.log(1/(1/court_probability(m, 1, inputs='clocks', **kw)-1)).mean()
    off = float(m.coef_['no_shot_clock'].sel(no_shot_clock='off'))
    assert odds(shot_clock=np.nan)-odds() == pytest.approx(off, abs=1e-6) and off > .1

def test_one_ridge_for_a_term_in_full(data):
    _,d,y = data
    with pytest.raises(ConfigError, match='one ridge'):
        MRTLRegressor(terms=[Term(('side', 'court'), full=True, smooth=.1, ridge=dict(court=7.))]).fit(d, y)
    m = MRTLRegressor(terms=[Term(('side', 'player'), full=True)]).fit(d, y)
    assert MRTLRegressor(terms=m.terms_).fit(d, y).terms_ == m.terms_

@pytest.mark.parametrize('terms', [[Term(('side', 'player'), full=True, ridge=1.)], [Term('side', ridge=1.)]],
                         ids=['full', 'one list'])
def test_a_run_of_a_sum_without_maps_has_a_page(data, tmp_path, terms):
    _,d,y = data; open_run(tmp_path, dict(command='attack'), False, False)
    p = Problem(d, y, dict(train=np.arange(100), valid=np.arange(100, 180), test=np.arange(180, N)))
    run_problem(tmp_path, p, dict(terms=terms, init='random'))
    assert (tmp_path/'report.html').exists() and read_run(tmp_path).metrics['test']['r2'] < 1

# ---- what mutants survived before

PAIR = [Term('side', ridge=1.), Term('court', **W), Term(('player', 'court'), rank=2, smooth=.05, ridge=1.)]

def built(d, y, terms, loss='squared'):
    ts = as_terms(terms, d.modes, 2)
    rows = Rows.of(Samples(d, np.asarray(y, float).reshape(len(d), -1)), np.float64)
    m = model_at(rows, ts, ladders(ts)[-1], rows.y.shape[1], loss)
    return rows,m,[.3*np.random.default_rng(1).normal(size=s) for s in m.shapes]

def test_the_hessian_is_a_difference_of_gradients(data):
    _,d,_ = data
    rows,m,F = built(d, np.zeros((N, 2)), PAIR)
    y = m.forward(F)[0]
    ways,unit = coordinates(m, F, y, rows.e)
    m.set_precisions()
    q = [np.random.default_rng(2).normal(size=f.shape) for f in F]
    D = to_values(ways, unit, q)
    up,down = (m.objective([f+s*1e-5*v for f,v in zip(F, D)], y, rows.e)[2] for s in (1, -1))
    want = to_slopes(ways, unit, [(a-b)/2e-5 for a,b in zip(up, down)])
    # where the fit is exact, nothing is left out
    for a,b in zip(hessian(m, F, rows.e, ways, unit)(q), want):
        np.testing.assert_allclose(a, b, atol=1e-5*np.abs(b).max())

def test_steps_of_the_search():
    s = WeightSearch(['a'], dict(a=0.), reach=100.); seen = []
    for g in (1, 1, 1, 1, 1, -1, -1, -1): s.move(dict(a=float(g)), 0.); seen.append(s.x['a'])
    # longer up to 2, no step where the sign turns, then half as long
    np.testing.assert_allclose(-np.diff(seen), [1.3, 1.69, 2, 2, 0, -1, -1.3])

def test_the_search_keeps_its_best(data, monkeypatch):
    _,d,y = data; rows = Rows.of(Samples(d, y[:,None]), np.float64); tried = []
    def judge(self, fold, levels, weights, F):
        (key,w), = weights.items(); tried.append(w)
        return [np.zeros(1)],1.,(np.log(w)-1)**2,[{key[1]: 2*(np.log(w)-1)}],[1.]
    monkeypatch.setattr(Learning, '_judge', judge)
    m = MRTLRegressor(terms=['side'])
    run = Learning(m._request(d, [0]), as_terms(['side'], d.modes, 2), 1, None)
    found,_ = run.search([(rows, rows)])
    assert found[0].ridge['side'] == min(tried, key=lambda w: (np.log(w)-1)**2) != tried[-1]

def test_strongest_first_of_three_modes():
    rng = np.random.default_rng(0)
    s,_ = components([rng.normal(size=(5, 4))*[1, 3, .1, 2] for _ in range(3)], [np.full(5, .2)]*3)
    assert (np.diff(s) < 0).all()

def test_main_effects_average_zero(data):
    t,d,y = data; m = MRTLRegressor(terms=PAIR, init='random').fit(d, y+3); share = t.side.value_counts(normalize=True)
    assert (abs(sum(float(m.coef_['side'].sel(side=k))*v for k,v in share.items())) < 1e-9
            and abs(d.weights['court'].toarray().mean(0)@m.coef_['court'].values.ravel()) < 1e-9)

def test_draws_by_some_rows_and_by_groups(data):
    _,d,y = data; rows,m,F = built(d, y, PAIR[:2])
    size = lambda post: np.mean([np.square(f[0]-F[0]).mean() for f in post.draws])
    a,b = (laplace(m, F, rows.y, rows.e, rows=k) for k in (N, N//2))
    assert b.parameters == pytest.approx(a.parameters, rel=.1)
    c = laplace(m, F, rows.y, rows.e, np.arange(N)//20, noise=.5)
    assert c.effect > 1 and size(c)/size(a) == pytest.approx(.5*c.effect)

def test_outputs_with_gaps_are_fits_of_their_own(data):
    _,d,y = data
    Y = np.stack([y, 5-2*y+.1*np.cos(np.arange(N))], 1)
    Y[::3,1] = np.nan; seen = np.isfinite(Y[:,1])
    fit = lambda d,y: MRTLRegressor(terms=PAIR[:2]).fit(d, y)
    both = fit(d, Y).predict(d)
    np.testing.assert_allclose(both[:,0], fit(d, Y[:,0]).predict(d), atol=1e-4)
    np.testing.assert_allclose(both[:,1], fit(d.take(seen), Y[seen,1]).predict(d), atol=1e-4)

@pytest.mark.parametrize('refit', [False, True])
def test_balanced_classes_are_shifted_back_once(data, refit):
    _,d,_ = data; y = (np.random.default_rng(3).random(N) < .15).astype(int); half = np.arange(N) < 160
    m = MRTLClassifier(terms=[Term('side', ridge=1.)], class_weight='balanced', refit=refit).fit(d.take(half),
            y[half], valid=(d.take(~half), y[~half]))
    assert m.predict_proba(d)[:,1].mean() == pytest.approx(y.mean() if refit else y[half].mean(), abs=.02)

def test_spread_of_counts_and_of_factors(data):
    _,d,y = data
    m = MRTLRegressor(terms=PAIR, loss='poisson', init='random').fit(d, np.random.default_rng(0).poisson(np.exp(y)))
    fit = m.fitted_
    np.testing.assert_allclose(fit.spread(d)[:,0],
                               np.std([fit.model(d).forward(F)[0][:,0] for F in fit.draws], 0), rtol=1e-9)
    p = fit.pieces()[2]
    t,_,w,_ = list(fit.blocks(fit.F))[2]
    each = [fit.tensors(F)[t.name][1].reshape(5, -1) for F in fit.draws]
    np.testing.assert_allclose(p.stds[1], np.std([W_.T@(w[0][:,None]*p.factors[0])/p.strength for W_ in each],
                                                 0), rtol=1e-6, atol=1e-9)

def test_bends_in_both_directions_count_twice():
    g = Grid((8, 8), (0, 1), (0, 1))
    yy,xx = np.meshgrid(g.y_centres, g.x_centres, indexing='ij')
    P = cell_roughness(g)
    rough = lambda f: f.ravel()@(P@f.ravel())
    assert rough(yy*xx)/rough(yy**2) == pytest.approx(.5) # 2 f_xy^2 = 2, f_yy^2 = 4
