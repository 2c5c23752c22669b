"""The rank that is asked for is the rank that predicts, in both ways; 'auto' finds one and says what it leaves out;
a refit takes all rows for as long as was needed."""
import warnings
from dataclasses import replace
import numpy as np, pytest, torch, xarray as xr
from scipy.ndimage import gaussian_filter
from mrtl.core import ConfigError, DataError
from mrtl.decompose import cp_decompose, cp_tensor
from mrtl.designs import FieldDesign, Mode
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.evidence.condense import ENOUGH, carries, condense, map_components
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.models import FullRank
from mrtl.multiresolution import Run, make_levels
from mrtl.options import GradientOptions
from mrtl.problems import Problem
from mrtl.rankpath import core_consistency, rank_path
from mrtl.ranks import branches, fit_ranks
from mrtl.samples import Samples
from mrtl.simulate import simulate_field
from mrtl.terms.spec import Term

QUICK = dict(max_epochs=10, lr=.05, patience=3)

@pytest.fixture(scope='module')
def months():
    "Two planted components over leads and variables, in raw units far from zero."
    ds = simulate_field(n=240, shape=(6,8), leads=3, variables=3, rank=2, r2=.8, seed=2)
    d = FieldDesign.from_xarray(ds.X*xr.DataArray([1., 50., .02], dims='variable')+xr.DataArray([280., 1e3, 0.],
            dims='variable'), leads=3, dtype=torch.float64)
    y = ds.y.values[d.rows]
    return d,y,np.stack([y, .5*np.roll(y, 1)+y**2], 1)

@pytest.fixture(scope='module')
def short(months):
    "Ninety of the months, with one output or two."
    d,y,Y = months; return d.take(range(90)),{1: y[:90], 2: Y[:90]}

@pytest.fixture(scope='module')
def fits(months, short):
    "Way, outputs and rank to a fitted model, its samples and its targets, made when first asked for."
    made = {}
    def get(way, outputs=1, rank='auto'):
        d,y = (short[0],short[1][outputs]) if way=='evidence' else (months[0],months[outputs])
        if (way, outputs, rank) not in made:
            made[way,outputs,rank] = MRTLRegressor(method=way, rank=rank, **(QUICK if way=='sgd' else {})).fit(d, y)
        return made[way,outputs,rank],d,y
    return get

def rebuilt(m, X):
    "The prediction out of what is shown: component scores, loadings of outputs, bias, remainder."
    F,T = m.factors_,np.asarray(m.transform(X))
    out = (T@F.output_loading.values.T if 'output_loading' in F else T.sum(1, keepdims=True))+F.bias.values
    if 'remainder' in F:
        R = F.remainder.fillna(0).values
        R = R.reshape(-1, R.shape[-1]) if 'output' in F.remainder.dims else R.reshape(-1, 1)
        out = out+(X.batch().x.flatten(1).numpy()@R-np.mean(X.batch().x.flatten(1).numpy()@R, 0))
    return out

# ---- what is shown predicts

@pytest.mark.parametrize('way', ['sgd','evidence'])
@pytest.mark.parametrize('rank', [1, 2, 'auto'])
@pytest.mark.parametrize('outputs', [1, 2])
def test_what_is_shown_predicts(fits, way, rank, outputs):
    m,d,y = fits(way, outputs, rank); p = m.predict(d).reshape(len(d), -1)
    assert m.transform(d).shape==(len(d), m.rank_)==(len(d),
            m.factors_.sizes['component']) and (rank=='auto' or m.rank_==rank)
    np.testing.assert_allclose(rebuilt(m, d), p, rtol=1e-6, atol=1e-6*p.std())
    W = m.coef_.fillna(0).values.reshape(-1, outputs); x = d.batch().x.flatten(1).numpy(); s = x@W
    # the coefficients are those that predict
    np.testing.assert_allclose(s-s.mean(0), p-p.mean(0), rtol=1e-6, atol=1e-6*p.std())

def test_scores_of_a_search_differ(fits):
    score = {k: m.score(d, y) for k in (1, 2) for m,d,y in [fits('evidence', 1, k)]}
    assert score[2]>score[1]+.05

def test_the_remainder_is_what_auto_leaves_out(fits):
    m,d,y = fits('evidence'); F = m.factors_
    assert F.remainder.dims==m.coef_.dims and ENOUGH<=F.attrs['carried']<1 and m.rank_>=2
    part = np.asarray(m.transform(d)).sum(1); p = m.predict(d)
    assert 1-(p-part).var()/p.var()==pytest.approx(F.attrs['carried'], abs=1e-9)
    # one component less would not do
    fewer = m.fitted_.in_rank(d, m.rank_-1); assert 1-(p-fewer.scores(d)[:,0]).var()/p.var()<ENOUGH
    assert 'remainder' not in fits('evidence', 1, 1)[0].factors_

def test_spread_grows_by_what_components_leave_out(fits):
    (whole,d,_),(one,*_) = fits('evidence'),fits('evidence', 1, 1)
    (a,sa),(b,sb) = (m.predict(d, return_std=True) for m in (whole, one))
    np.testing.assert_allclose(sb, np.hypot(sa, a-b), rtol=1e-6)
    np.testing.assert_allclose(one.coef_std_, np.hypot(whole.coef_std_, whole.coef_-one.coef_), rtol=1e-6)

def test_components_do_not_depend_on_units(fits):
    m,d,y = fits('evidence', 1, 2); units = torch.tensor([1., 1e-4, 1e3])[:,None,None]
    grown = MRTLRegressor(method='evidence', rank=2).fit(d._like(u=d.u*units), y)
    np.testing.assert_allclose(grown.predict(d._like(u=d.u*units)), m.predict(d), rtol=1e-6)

def test_files_keep_rank_and_remainder(fits, tmp_path):
    for rank in ('auto', 1):
        m,d,_ = fits('evidence', 1, rank); m.save(tmp_path/'m.mrtl'); back = MRTLRegressor.load(tmp_path/'m.mrtl')
        assert back.rank==rank and back.factors_.identical(m.factors_) and np.array_equal(back.predict(d),
                m.predict(d)) and back.coef_.equals(m.coef_)

# ---- which rank

def test_one_full_rank_start_for_all(months):
    "Each branch ends where a run of its own would, and the best on validation rows is taken."
    d,y,_ = months; z = (y-y.mean())/y.std()
    s = Samples(d.standardise(*d.moments()), z[:,None])
    sets = [s.take(np.arange(180)),s.take(np.arange(185, len(d)))]
    o = GradientOptions(optimizer='adam', dtype='float64', schedule=[(3,4),(6,8)], full_levels=1, **QUICK)
    levels = make_levels(d.modes, o.schedule, 1)
    runs,models = branches(sets, [1, 2, 4], o, levels, '')
    for k,r,m in zip((1, 2, 4), runs, models):
        own = Run(*sets, levels=levels, rank=k, options=o); assert torch.equal(own.fit().full(), m.full())
        assert ([t['best_loss'] for t in own.table]==[t['best_loss'] for t in r.table]
                and own.table[1]['jump']==pytest.approx(r.table[1]['jump']))
    run,model = fit_ranks(sets, 'auto', o, levels)
    best = min(runs, key=lambda r: r.best[0]); assert run.best[0]<=best.best[0] and model.rank==run.rank

def test_a_killed_search_resumes_to_the_same_bits(months, fits, tmp_path):
    d,y,_ = months; kw = dict(method='sgd', **QUICK); want = fits('sgd')[0]
    class Stop:
        gradients,n = False,0
        def before_fit(self, t): pass
        def after_batch(self, t): pass
        def after_finegrain(self, r): pass
        def after_fit(self, t): pass
        def after_epoch(self, t):
            self.n += 1
            if self.n==20: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): MRTLRegressor(checkpoint=tmp_path/'c', **kw).fit(d, y, callbacks=[Stop()])
    assert list(tmp_path.glob('c.*'))
    m = MRTLRegressor(checkpoint=tmp_path/'c', **kw).fit(d, y)
    assert m.rank_==want.rank_ and np.array_equal(m.predict(d), want.predict(d)) and not [f
            for f in tmp_path.iterdir() if not f.name.startswith('.')]

def test_auto_finds_a_planted_rank_of_terms():
    rng = np.random.default_rng(0); n = 1500
    modes = [Mode('who', 20, indexed=True),Mode('where', 12, Grid((3,4)), indexed=True)]
    idx = dict(who=rng.integers(20, size=n), where=rng.integers(12, size=n))
    A,B = rng.normal(size=(20, 2)),rng.normal(size=(12, 2))
    y = (A[idx['who']]*B[idx['where']]).sum(1)+rng.normal(size=n); d = EventDesign(idx, modes)
    m = MRTLRegressor(terms=[Term(('who','where'), ridge=1., smooth=0.)]).fit(d, y); assert m.terms_[0].rank==m.rank_==2
    fixed = MRTLRegressor(terms=[Term(('who','where'), rank=1, ridge=1., smooth=0.)]).fit(d, y)
    assert fixed.terms_[0].rank==1
    np.testing.assert_allclose(m.transform(d).sum(1)+float(m.factors_.bias[0]), m.predict(d), atol=1e-6)
    assert list(m.get_feature_names_out())==['who:where_component1','who:where_component2']

def test_a_rank_beyond_the_weights_is_told(months):
    rng = np.random.default_rng(0)
    X = xr.DataArray(rng.normal(size=(60, 4, 5)), dims=('time','lat','lon'))
    y = X.values[:,1,2]
    for way in ('sgd','evidence'):
        with pytest.warns(UserWarning, match='rank=4 is more than the 1 that weights over space 20 can have'):
            m = MRTLRegressor(rank=4, method=way, max_epochs=200).fit(X, y)
        assert m.rank_==1
    with pytest.raises(ConfigError, match="rank must be 'auto' or a whole number"): MRTLRegressor(rank='many').fit(X, y)
    with pytest.raises(ConfigError, match='rank must be'): MRTLRegressor(rank=0).fit(X, y)

# ---- condensing

def test_a_fit_that_is_nothing_has_one_component():
    d = FieldDesign(torch.randn(30, 2, 3, 4, dtype=torch.float64), Grid((3,4)))
    full = FullRank(d.modes, dtype=torch.float64)
    full.bias.data += 3
    found = condense(full, d, 'auto', torch.ones(2, 1).double(), np.ones(1))
    assert (found.low.rank, found.carried, found.whole)==(1, 1., False)
    with torch.no_grad(): assert float((found.low(d.batch())-3).abs().max())<1e-9

def test_share_is_of_variance():
    # in units of the targets
    a = torch.randn(200, 2, dtype=torch.float64)
    assert carries(a, a*torch.tensor([1., 0.]), torch.tensor([1., 1e9]))==pytest.approx(1.)

# ---- refit

@pytest.mark.parametrize('cls', [MRTLRegressor, MRTLClassifier])
def test_refit_takes_all_rows_for_as_many_epochs(months, cls):
    d,y,_ = months; y = y if cls is MRTLRegressor else y>np.median(y); kw = dict(method='sgd', rank=2, **QUICK)
    first,again = (cls(refit=r, **kw).fit(d, y) for r in (False, True))
    assert again.levels_==first.levels_ or [l['epochs'] for l in again.levels_]==[l['epochs'] for l in first.levels_]
    assert again.rank_==2 and not np.allclose(again.coef_.fillna(0), first.coef_.fillna(0))
    m = cls(**kw); m._kept = first.fitted_.kept; rows = m.fit(d, y) # every row trains, none is set aside
    epochs,batch,_ = first.fitted_.kept
    assert {(l['stage'], l['level']): l['epochs'] for l in rows.levels_}==epochs and batch==rows.levels_[-1]['batch']
    assert rows.history_.valid_loss.isna().all()

def test_every_run_has_a_model_on_all_rows(months):
    d,y,_ = months
    d,y,rows = d.take(range(170)),y[:170],dict(train=np.arange(90), valid=np.arange(95, 120), test=np.arange(125, 170))
    for way in ('sgd','evidence'):
        # given validation rows, 'auto' means gradients
        p = Problem(d, y, rows)
        m = p.fit(p.estimator(rank=2, **({} if way=='sgd' else dict(method=way))))
        full = p.refit(m)
        assert (full.method_==way and full.rank_==2
                and p.scores(p.predicted(full))['test']['r2']>p.scores(p.predicted(m))['test']['r2']-.05)
        assert not np.allclose(full.predict(d), m.predict(d))

# ---- the path

def test_rank_path_by_gradients_and_its_refusals(months):
    d,y,_ = months
    path = rank_path(MRTLRegressor(method='sgd', optimizer='adam', **QUICK), d, y, (1, 2), 2)
    t = path.table.set_index('rank')
    assert list(t.index)==[1, 2] and t.score[2]>t.score[1] and ((0<=t.stability)
            &(t.stability<=1)).all() and len(path.figure.axes)==3
    with pytest.raises(DataError, match='sum of terms'): rank_path(MRTLRegressor(terms=['lead']), d, y)

def test_core_consistency_has_no_meaning_for_a_matrix():
    assert np.isnan(core_consistency(torch.rand(4, 6), [torch.rand(4, 2), torch.rand(6, 2)], [None, None]))

def test_the_strongest_components_of_a_term_stay():
    from types import SimpleNamespace
    from mrtl.terms.ranks import strongest
    model = SimpleNamespace(parts=[0, 1, 2], of=[[0], [1, 2]], mixed=[False, True])
    F = [np.ones((2, 1)), np.diag([1., 5., 3.]), np.eye(3), np.eye(3)*[2., 1., 1.], np.zeros((1, 1))]
    out = strongest(model, F, 1, 2)
    assert [f.shape[1] for f in out]==[1, 2, 2, 2, 1] and np.array_equal(out[1],
            F[1][:,1:]) and np.array_equal(out[3], F[3][:,1:])

# ---- one place a component, and nothing drawn that counts for nothing

def blobs(seed):
    "Three blobs with a loading each over leads and variables, noise, and their centres."
    rng = np.random.default_rng(seed); i,j = np.mgrid[:12,:18]
    B = np.stack([np.exp(-((i-a)**2+(j-b)**2)/6) for a,b in ((3,3), (8,9), (3,14))])
    A,Q = rng.normal(size=(3, 3)),rng.normal(size=(3, 2))
    W = np.einsum('r,rl,rv,rij->lvij', [1, .8, .6], *(v/np.linalg.norm(v, axis=1)[:,None] for v in (A, Q)), B)
    return W,B>.3

def places(maps, B):
    "In how many components each blob has more than a tenth of its square; maps (k, h, w) times their strength."
    E = np.stack([(maps**2*b).sum((1,2)) for b in B]); return (E>.1*E.sum(1, keepdims=True)).sum(1)

@pytest.mark.parametrize('seed', range(3))
def test_one_place_a_component(seed):
    W,B = blobs(seed); grid = Grid((12,18)); noise = np.random.default_rng(seed).normal(size=W.shape)
    W = torch.from_numpy(W+.03*noise).flatten(2)
    modes = [Mode('lead', 3),Mode('variable', 2),Mode('space', 216, grid)]
    low = map_components(W, modes, 1, 3); s = low.factors[0].detach().norm(dim=0)*low.factors[1].detach().norm(dim=0)
    assert places((low.factors[2].detach()*s).T.reshape(-1, 12, 18).numpy(), B).tolist()==[1, 1, 1]
    assert float((low.full().detach()-W).norm()/W.norm())<.45 and low.rank==3

@pytest.mark.parametrize('seed', range(3))
def test_a_number_of_components_are_the_best_of_that_number(seed):
    "They alone predict then; `auto` shows places, and all maps predict."
    W = torch.from_numpy(blobs(seed)[0]).flatten(2); W = W+.5*W.flip(2).roll(1, 0); grid = Grid((12,18))
    d = FieldDesign(torch.from_numpy(np.random.default_rng(0).normal(size=(300, 3, 2, 12, 18))),
                    grid, ('lead','variable'))
    full = FullRank(d.modes, dtype=torch.float64); full.W.data = W.reshape(full.W.shape)
    few,auto = (condense(full, d, k, torch.ones(3, 2, 1).double(), [1.]) for k in (3, 'auto'))
    best = cp_tensor(cp_decompose(W, 3, weights=[None, None, grid.share.flatten()]).factors)
    assert float((few.low.full().detach().reshape(W.shape)
                  -best).norm()/W.norm())<1e-6 and not few.whole and auto.carried>=.99

def test_components_of_gradients_are_turned_to_places():
    _,B = blobs(4); rng = np.random.default_rng(0)
    W = np.einsum('rl,rij->lij', [[1.,.6,0], [.6,-1,.3], [0,.3,1.]], B*1.)
    X = gaussian_filter(rng.normal(size=(250, 3, 12, 18)), (0,0,1,1)); y = np.einsum('tlij,lij->t', X, W)
    y = y+.3*y.std()*rng.normal(size=250)
    m = MRTLRegressor(method='sgd', optimizer='exact', rank=3, schedule=[(6,9),(12,18)], penalty=(.1,.05)).fit(X, y)
    F = m.factors_
    name = next(k for k,v in F.items() if v.ndim==3); maps = F[name].transpose('component', ...)*F.strength
    assert places(maps.values, B).tolist()==[1, 1, 1]
    C = np.einsum('kij,kl->lij', maps.values, next(v for k,v in F.items() if k.endswith('_loading')).values.T)
    np.testing.assert_allclose(C.ravel(), m.coef_.values.ravel(), atol=1e-8*abs(C).max())

def test_weak_components_are_neither_drawn_nor_listed(months):
    from mrtl.cards import strengths, thumbnails
    from mrtl.plots import factor_maps
    d,y,_ = months; m = MRTLRegressor(method='sgd', optimizer='exact', rank=2).fit(d, y)
    F = m.factors_.copy(deep=True); axes = lambda f: [a.get_title('left') for a in f.axes if 'component' in
                                                     a.get_title('left')]
    F['strength'] = F.strength*[1., 1e-3]/F.strength*float(F.strength[0])
    assert len(axes(factor_maps(m.factors_)))==2 and len(axes(f := factor_maps(F)))==1
    assert any('1 component below 1 %' in t.get_text() for t in f.texts+[a.title for a in f.axes])
    named,left = strengths(F); assert len(named)==1 and not left and len(thumbnails(F))==1
    hatch = np.zeros((6, 8, 2), bool); hatch[...,0] = True; factor_maps(F, hatch)
