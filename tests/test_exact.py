"Exact levels: oracles, promises 1, 2, 6 and 7, and what is refused."
import numpy as np, pytest, torch, xarray as xr
from dataclasses import replace
from sklearn.base import clone
from mrtl.bootstrap import block_bootstrap, training_part
from mrtl.coordinates import Metric, coordinates, in_basis, share_of_bump, size_of_bump, SIGMA
from mrtl.core import ConfigError
from mrtl.designs import FieldDesign
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.exact import Factors, Rows, ridge, settle, sweep
from mrtl.finegrain import smoothed
from mrtl.grids import Grid
from mrtl.options import GradientOptions
from mrtl.penalties import Smoothness
from mrtl.simulate import simulate_field
from mrtl.solved import with_solver
from mrtl.splits import BlockSplit
from mrtl.training import Callback

FIXED = dict(method='sgd', optimizer='exact', penalty=(.3, .05), rank=2)

@pytest.fixture(scope='module')
def ocean():
    ds = simulate_field(n=240, shape=(8, 16), leads=2, variables=2, rank=2, seed=4)
    return ds,FieldDesign.from_xarray(ds.X, leads=2, dtype=torch.float64),ds.y.values[2:]

@pytest.mark.parametrize('power', [1, 2, 3])
@pytest.mark.parametrize('kernel', ['gaussian', 'exponential'])
def test_power_is_that_of_a_dense_matrix(power, kernel):
    rng = np.random.default_rng(power)
    g = Grid((5, 6), (-30, 30), (0, 60), sphere=True, mask=rng.random((5, 6))>.2)
    R = Smoothness(g, .2, kernel, power)
    y,x = np.meshgrid(g.y_centres, g.x_centres, indexing='ij')
    at = np.stack([y.ravel(), x.ravel()], 1)
    d = np.linalg.norm(at[:,None]-at, axis=-1)/g.diagonal
    K = np.exp(-d**2/(2*.2**2)) if kernel=='gaussian' else np.exp(-d/.2); v = g.share.numpy().ravel(); total = v@K@v
    A = np.where(v>0, 1/np.where(v>0, v, 1.), 0.)[:,None]*(np.diag(v*(K@v))-v[:,None]*K*v)/total
    L = 2*total*v[:,None]*np.linalg.matrix_power(A, power)
    B = torch.from_numpy(rng.normal(size=(3, 5, 6))).requires_grad_()
    value = R(B)
    b = B.detach().flatten(1).numpy(); value.backward()
    assert value.item()==pytest.approx(np.einsum('ai,ij,aj', b, L, b),
                                       rel=1e-10) and np.allclose(B.grad.flatten(1).numpy(), 2*b@L, atol=1e-12)

def test_power_leaves_land_alone_and_is_checked():
    g = Grid((4, 5), mask=np.arange(20).reshape(4, 5)!=7)
    b = torch.ones(4, 5, dtype=torch.float64)
    b[1,2] = float('nan')
    assert Smoothness(g, .3, power=2)(b).item()==pytest.approx(0, abs=1e-20)
    with pytest.raises(ConfigError, match='power must be a whole number'): Smoothness(g, power=0)

def test_sizes_of_bumps(): assert [size_of_bump(share_of_bump(s)) for s in (.1, .4)]==pytest.approx([.1, .4])

@pytest.mark.parametrize('n', [15, 200])
def test_full_rank_is_the_dense_solution(n):
    "Over cells, with weights and covariates, where there are fewer rows than columns and far more."
    rng = np.random.default_rng(n)
    g = Grid((3, 4), mask=rng.random((3, 4))>.2)
    d = FieldDesign(torch.from_numpy(rng.normal(size=(n, 2, 3, 4))), g)
    eps,lam = .2,.1
    e,z,y = rng.uniform(.5, 2, n),rng.normal(size=(n, 1)),rng.normal(size=n)
    e /= e.mean()
    C = coordinates(d, Metric([g]), eps, cut=0.)
    R = Rows(C.u, y, e, z, .2)
    w = ridge(R.X.reshape(len(R.y), -1), R.y, n*lam)
    got = np.r_[R.side(w), (w.reshape(2, -1)@C.T.T).ravel()]
    A = Smoothness(g, SIGMA, power=2).applied(torch.eye(12, dtype=torch.float64).view(-1, 3,
            4)).flatten(1).numpy().T+eps*np.eye(12)
    sea = g.mask.flatten().numpy()
    M = (A.T@(g.share.numpy().ravel()[:,None]*A))[np.ix_(sea, sea)]
    X = d.u.flatten(-2).numpy()[...,sea].reshape(n, -1)
    S = np.hstack([np.ones((n, 1)), z, X])
    P = np.zeros((S.shape[1],)*2); P[1,1] = .2*n
    P[2:,2:] = n*lam*np.kron(np.eye(2), M)
    want = np.linalg.solve(S.T@(e[:,None]*S)+P, S.T@(e*y))
    full = np.zeros((2, 12))
    full[:,sea] = want[2:].reshape(2, -1)
    assert np.allclose(got, np.r_[want[:2], full.ravel()],
                       atol=1e-6*np.abs(want).max()) and (got[2:].reshape(2, -1)[:,~sea]==0).all()

def test_sweeps_descend_to_a_point_without_slope():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3, 2, 4))
    R = Rows(X, rng.normal(size=40), np.ones(40))
    f = Factors([rng.normal(size=(3, 2)), rng.normal(size=(2, 2))], rng.normal(size=(2, 4)))
    J = []
    for _ in range(600): f,r = sweep(R, f, .01); J.append(R.loss(r)+.01*f.penalty())
    t = [torch.from_numpy(v.copy()).requires_grad_() for v in (*f.A, f.c)]
    fit = torch.einsum('nlvq,lk,vk,kq->n', torch.from_numpy(R.X.reshape(-1, 3, 2, 4)), *t)
    (((torch.from_numpy(R.y)-fit)**2).sum()/R.n+.01*sum((v**2).sum() for v in t)).backward()
    assert max(float(v.grad.abs().max()) for v in t)<1e-6 and all(b<=a+1e-12 for a,b in zip(J, J[1:]))
    norms = [np.linalg.norm(v, axis=0) for v in (*f.A, f.c.T)]
    assert np.allclose(norms[0], norms[1]) and np.allclose(norms[0], norms[2])

@pytest.mark.parametrize('schedule', [[(2, 4), (4, 8), (8, 16)], [(3, 5), (5, 9), (8, 16)]])
def test_levels_keep_predictions_and_never_get_worse(ocean, schedule):
    ds,d,y = ocean
    m = MRTLRegressor(**FIXED, schedule=schedule, full_levels=1, dtype='float64').fit(d, y)
    low = [l for l in m.levels_ if l['stage']=='low']
    assert (all(abs(l['jump'])<1e-10 for l in low[1:]) and low[-1]['best_loss']<low[0]['best_loss']
            and all(l['penalty_size']==pytest.approx(.3) for l in low))

def test_chosen_weights_and_what_follows(ocean, tmp_path):
    "The choice is shown, saved, taken over by a further fit, and the same each time; a map is found with nothing set."
    ds,d,y = ocean
    m = MRTLRegressor(method='sgd', optimizer='exact', rank=2).fit(d, y)
    l = m.levels_[-1]; W = m.coef_.values
    assert np.corrcoef(W.ravel(), ds.beta.values.ravel())[0,1]>.9
    a,b = (MRTLRegressor(**FIXED, schedule=[(4, 8)]).fit(d, y).coef_.values for _ in range(2)); assert (a==b).all()
    m.save(tmp_path/'m.mrtl')
    back = MRTLRegressor.load(tmp_path/'m.mrtl')
    assert np.array_equal(back.predict(d), m.predict(d)) and back.levels_[-1]['penalty_weight']==l['penalty_weight']
    assert m.fitted_.settled['penalty']==(l['penalty_size'], l['penalty_weight'])
    given = MRTLRegressor(method='sgd', optimizer='exact', rank=2,
                          penalty=(l['penalty_size'], l['penalty_weight'])).fit(d, y)
    assert np.allclose(given.coef_.values, W, rtol=1e-6, atol=1e-9*abs(W).max())

def test_validation_rows_and_refit(ocean):
    ds,d,y = ocean
    a,b = np.arange(180),np.arange(182, 238)
    m = MRTLRegressor(**FIXED).fit(d.take(a), y[a], valid=(d.take(b), y[b]))
    low = m.history_[(m.history_.stage=='low')&(m.history_.level=='8x16')]
    assert m.levels_[-1]['best_loss']==pytest.approx(low.valid_loss.min())
    other = MRTLRegressor(**FIXED, max_epochs=3).fit(d.take(a), y[a], valid=(d.take(b), y[b]+100))
    same = MRTLRegressor(**FIXED, max_epochs=3).fit(d.take(a), y[a], valid=(d.take(b), y[b]))
    assert np.allclose(other.history_.train_loss, same.history_.train_loss)
    refit = MRTLRegressor(**FIXED, refit=True).fit(d.take(a), y[a], valid=(d.take(b), y[b]))
    assert not np.allclose(refit.coef_.values,
                           m.coef_.values) and refit.levels_[-1]['best_loss']==m.levels_[-1]['best_loss']

def test_covariates_and_weights(ocean):
    "What a covariate adds is taken out; doubling a row is giving it twice the weight."
    ds,d,y = ocean
    z = np.random.default_rng(0).normal(size=(len(y), 1))
    m = MRTLRegressor(**FIXED).fit(d, y+3*z[:,0], covariates=z)
    assert float(m.covariates_.coef[0])==pytest.approx(3, abs=.15) and float(m.covariates_['std'][0])>0
    w = np.ones(len(y)); w[10] = 2.
    rows = np.r_[np.arange(len(y)), 10]
    o = FIXED|dict(schedule=[(2, 4)], full_levels=1, standardise=False)
    a,b = MRTLRegressor(**o).fit(d, y, sample_weight=w),MRTLRegressor(**o).fit(d.take(np.sort(rows)), y[np.sort(rows)])
    assert np.allclose(a.coef_.values, b.coef_.values, atol=1e-4*abs(a.coef_.values).max())

@pytest.mark.parametrize('kw,says',
                         [(dict(smooth=1.), 'does not read smooth'),
                          (dict(loss='poisson'), 'squared loss, and this one is poisson'),
                          (dict(penalty=(.3, -1.)), 'penalty must be'),
                          (dict(optimizer='adam'), "read by optimizer='exact' only")])
def test_what_is_refused(ocean, kw, says):
    ds,d,y = ocean
    with pytest.raises(ConfigError, match=says): MRTLRegressor(**FIXED|kw).fit(d, np.abs(y))

def test_other_data_are_refused(ocean):
    ds,d,y = ocean
    with pytest.raises(ConfigError, match='one response, and there are 2'):
        MRTLRegressor(**FIXED).fit(d, np.stack([y, y], 1))
    with pytest.raises(ConfigError, match='squared loss, and this one is logistic'):
        MRTLClassifier(method='sgd', optimizer='exact').fit(d, y>0)

def test_one_field_without_features():
    rng = np.random.default_rng(0); X = rng.normal(size=(60, 4, 8))
    y = X[:,1,2]+.1*rng.normal(size=60)
    m = MRTLRegressor(method='sgd', optimizer='exact', rank=1).fit(X, y)
    assert m.score(X, y)>.5

def test_the_number_of_components_is_chosen_too(ocean, tmp_path):
    "With nothing said of the rank, as a stranger writes it."
    ds,d,y = ocean
    m = MRTLRegressor(**FIXED|dict(rank='auto')).fit(d, y)
    assert m.rank_ in (1, 2, 4, 8) and m.score(d, y)>.4
    m.save(tmp_path/'m.mrtl'); assert (MRTLRegressor.load(tmp_path/'m.mrtl').predict(d)==m.predict(d)).all()

class EveryBatch(Callback):
    def after_batch(self, trainer): pass

class Watcher(Callback):
    def after_epoch(self, trainer): self.seen = trainer.epoch

@pytest.mark.parametrize('kw,more,want',
                         [({}, {}, 'exact'), (dict(rank=3, schedule=[(4, 8)], init='random', random_state=3), {},
                                              'exact'), (dict(penalty=(.3, .1), patience=2), {}, 'exact'),
                          (dict(lr=.02), {}, 'auto'), (dict(patience=5), {}, 'auto'),
    (dict(valid=.3), {}, 'auto'), (dict(full_options=dict(lr=.1)), {}, 'auto'),
    (dict(optimizer='adam'), {}, 'adam'), (dict(optimizer='lbfgs'), {}, 'lbfgs'),
    ({}, dict(asked={'smooth'}), 'auto'), ({}, dict(asked={'rank'}), 'exact'),
    ({}, dict(callbacks=(Watcher(),)), 'exact'),
    ({}, dict(callbacks=(EveryBatch(),)), 'auto'), ({}, dict(outputs=2), 'auto'),
    ({}, dict(loss='poisson'), 'auto'), (dict(dtype='float32'), {}, 'auto')])
def test_what_speaks_for_steps(ocean, kw, more, want):
    o = GradientOptions(**{k: v for k,v in kw.items() if k not in ('rank','random_state')})
    assert with_solver(o, ocean[1], **dict(loss='squared', outputs=1)|more).optimizer==want

def test_unasked(ocean):
    "What was taken is told; what a search sets counts as set; a penalty that nothing reads is refused."
    ds,d,y = ocean
    m = MRTLRegressor(method='sgd', rank=2, schedule=[(2, 4)], full_levels=1).fit(d, y, callbacks=[w := Watcher()])
    assert {l['optimizer'] for l in m.levels_}=={'exact'} and w.seen>0
    assert (MRTLRegressor(method='sgd', optimizer='exact', rank=2, schedule=[(2, 4)], full_levels=1).fit(d,
            y).coef_.values==m.coef_.values).all()
    steps = clone(m).set_params(l2=1e-3).fit(d, y); assert steps.levels_[-1]['optimizer']=='adam'
    assert clone(m).fit(d.take(range(100)),
                        y[:100]).levels_[-1]['optimizer']=='exact' and clone(m).fit(d.take(range(99)),
            y[:99]).levels_[-1]['optimizer']=='lbfgs'
    with pytest.raises(ConfigError, match='read where levels are solved.*there are 2'):
        MRTLRegressor(method='sgd', penalty=(.3, .1)).fit(d, np.stack([y, y], 1))

def test_draws_have_the_rank_and_the_penalty_that_were_found(ocean):
    ds,d,y = ocean
    m = MRTLRegressor(method='sgd', rank=2, schedule=[(2, 4)], full_levels=1).fit(d, y)
    part = training_part(m, d, y, np.arange(len(y))//20)
    assert (part['valid'] is None and len(part['y'])==len(y)
            and part['estimator'].penalty==m.fitted_.settled['penalty'] and part['estimator'].optimizer=='exact')
    out = block_bootstrap(m, d, y, np.arange(len(y))//20, n=2); assert out.attrs['rows']==len(y)
    steps = MRTLRegressor(method='sgd', rank=1, schedule=[(2, 4)], full_levels=1).fit(d, y, callbacks=[EveryBatch()])
    part = training_part(steps, d, y, np.arange(len(y))//20)
    assert part['estimator'].optimizer=='adam' and part['valid'] is not None

def test_faded_components_count_for_nothing(ocean):
    "Of a number that was given they stay as zeros; where it was open they go."
    ds,d,y = ocean
    m = MRTLRegressor(**FIXED|dict(rank=4)).fit(d, y)
    size = m.factors_.strength.values
    assert m.rank_==4 and m.levels_[-1]['alive']==(size>0).sum()<4
    with torch.no_grad(): assert all(s==0 or s>=.005*size.max() for s in size)
    assert MRTLRegressor(**FIXED|dict(rank='auto')).fit(d, y).rank_==m.levels_[-1]['alive']
