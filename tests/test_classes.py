"""Several classes and ordered ones: gradients, both ways of fitting and sums of terms, files, scores, and what is
refused."""
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from mrtl.bootstrap import block_bootstrap
from mrtl.classes import CLASS_GRADIENTS, CLASS_LOSSES, class_probabilities, class_targets, falling, several_scores
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.designs import FieldDesign, Mode
from mrtl.estimators import MRTLClassifier
from mrtl.events import EventDesign
from mrtl.evidence.laplace import Ordered, common_peak
from mrtl.grids import Grid
from mrtl.models import FullRank, LowRank
from mrtl.problems import Problem
from mrtl.report import write_report
from mrtl.rivals import field_rivals
from mrtl.runs import table_of

CLASSES,RAIN = np.array(['a','b','c']),['dry','normal','wet']
BLOB = np.outer(np.sin(np.linspace(0, np.pi, 6)), np.sin(np.linspace(0, np.pi, 8)))

def world(n=260, seed=0):
    "Fields, and labels of both kinds that one blob and its mirror image decide."
    rng = np.random.default_rng(seed); X = rng.normal(size=(n,6,8)); X = X+np.roll(X, 1, 1)+np.roll(X, 1, 2)
    M = np.stack([BLOB*(np.arange(8)<4), BLOB*(np.arange(8)>=4)]); s = np.einsum('nij,kij->nk', X, M); s /= s.std(0)
    P = softmax(2*np.c_[s, -s.sum(1)], 1); code = (P.cumsum(1)<rng.random(n)[:,None]).sum(1)
    z = 1.5*s[:,0]+rng.logistic(size=n); cut = np.digitize(z, np.quantile(z, [1/3,2/3]))
    return xr.DataArray(X, dims=('time','lat','lon'),
                        coords=dict(time=np.arange(n))),CLASSES[code],pd.Series(pd.Categorical.from_codes(cut, RAIN,
            ordered=True)),code,cut,P

X,Y,R,CODE,CUT,P = world()
TRAIN,TEST = slice(0,160),slice(160,None)
WAYS = dict(sgd=dict(method='sgd', rank=3, smooth=.02, l2=.005), evidence=dict(method='evidence'))
CASES = [(w, k) for w in WAYS for k in ('several','ordered')]

@pytest.fixture(scope='module', params=CASES, ids=lambda p: '-'.join(p))
def fitted(request):
    way,kind = request.param; y = Y if kind=='several' else R
    return way,kind,MRTLClassifier(**WAYS[way]).fit(X[TRAIN], y[TRAIN]),y

# ---- losses and gradients

def modes(events):
    if events:
        return [Mode('player', 4, indexed=True, labels=list('wxyz')), Mode('court', 6, Grid((2,3)), indexed=True)]
    return [Mode('lead', 2), Mode('space', 6, Grid((2,3)))]

@pytest.mark.parametrize('loss', CLASS_LOSSES)
@pytest.mark.parametrize('kind', [FullRank, LowRank])
@pytest.mark.parametrize('events', [True, False])
def test_gradients_are_those_of_autograd(loss, kind, events):
    "Of weights, factors, main effects and thresholds, by the fast way and through the formula written out."
    g = torch.Generator().manual_seed(0); k,n = 4,9
    outputs,biases = (4,4) if loss=='softmax' else (1,3)
    ms = modes(events)
    m = kind(ms, *([2] if kind is LowRank else []), outputs, events, torch.float64, 0, biases)
    for p in m.parameters(): p.data = torch.randn(p.shape, generator=g, dtype=torch.float64)
    if events:
        idx = dict(player=torch.randint(4, (n,1), generator=g), court=torch.randint(-1, 6, (n,3), generator=g))
        b = EventDesign(idx, ms).batch()
        one = lambda i, size: torch.nn.functional.one_hot(i+1, size+1)[...,1:].sum(1).double()
        x = torch.einsum('np,nc->npc', *(one(idx[m.name], m.size) for m in ms))
    else:
        d = FieldDesign(torch.randn(n+2, 2, 3, generator=g, dtype=torch.float64), Grid((2,3)), leads=2)
        b = d.batch(); x = b.x.flatten(2)
    n = len(x)
    y = torch.from_numpy(class_targets(np.arange(n)%k, k, loss))
    e = (torch.rand(n, 1, generator=g)+.5).double()
    plain = lambda: torch.einsum('nab,abo->no', x,
                                 m.full().reshape(*x.shape[1:], outputs))+m.bias+(sum(one(idx[q], len(t))@t
            for q,t in m.main.items()) if events else 0.)
    s = plain(); want = torch.autograd.grad((CLASS_LOSSES[loss](s, y)*e).mean(), list(m.parameters()))
    fast = m(b)
    torch.testing.assert_close(fast, s)
    got = torch.autograd.grad(fast, list(m.parameters()), CLASS_GRADIENTS[loss](fast.detach(), y)*e/y.numel())
    for a,b in zip(got, want): torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)

def test_thresholds_cannot_cross():
    s = 30*torch.randn(500, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = class_probabilities(falling(s).numpy(), 'ordered')
    assert (falling(s).diff()<=0).all() and (p>=0).all() and np.allclose(p.sum(1),
            1) and torch.isfinite(CLASS_LOSSES['ordered'](s/10,
            torch.from_numpy(class_targets(np.arange(500)%6, 6, 'ordered')))).all()

def test_without_maps_softmax_is_the_intercept_of_logistic_regression():
    m = MRTLClassifier(rank=1, method='sgd', l2=1e6, smooth=0., valid=0, optimizer='lbfgs').fit(X, Y)
    peer = LogisticRegression(C=1e-9).fit(X.values.reshape(len(X), -1), Y)
    np.testing.assert_allclose(m.predict_proba(X), peer.predict_proba(X.values.reshape(len(X), -1)), atol=1e-4)
    np.testing.assert_allclose(m.predict_proba(X)[0], np.bincount(CODE)/len(X), atol=1e-4)

def test_the_tops_are_tops():
    """Slope of the joint likelihood of several classes, with weights; and the top of an ordered one among random
    neighbours."""
    g = torch.Generator().manual_seed(0)
    A = 2*torch.randn(3, 50, 4, generator=g, dtype=torch.float64)
    K = [a@a.T+10 for a in A]
    y = torch.eye(3, dtype=torch.float64)[torch.arange(50)%3]
    w = torch.rand(50, generator=g, dtype=torch.float64)+.2
    h,_ = common_peak(K, y, w, torch.zeros(3, dtype=torch.float64)); a = w[:,None]*(y-h.softmax(1))
    for k,v,s in zip(K, a.T, h.T): torch.testing.assert_close(k@v, s, rtol=0, atol=1e-5)
    like = Ordered(torch.ones(4).double(), [1.,-1.])
    s = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    c = torch.tensor([0.,1.,2.,1.])
    assert torch.allclose(torch.autograd.grad(like.log_probability(s, c).sum(), s)[0],
                          like.slope(s, c).detach()) and like.curvature(s.detach(), c)[0].min()>0

# ---- fitted models

def test_shapes_and_skill(fitted):
    way,kind,m,y = fitted
    p,d,code = m.predict_proba(X[TEST]),m.decision_function(X[TEST]),(CODE if kind=='several' else CUT)[TEST]
    assert list(m.classes_)==(list(CLASSES) if kind=='several'
                              else RAIN) and p.shape==(100,3) and np.allclose(p.sum(1), 1) and (p>0).all()
    assert d.shape==p.shape and np.allclose(softmax(d, 1), p)
    assert (np.asarray(m.predict(X[TEST]))==m.classes_[p.argmax(1)]).all() and m.score(X[TEST],
            y[TEST])==np.mean(p.argmax(1)==code)
    even = several_scores(code, np.full((100,3), 1/3), np.full(3, 1/3)); s = several_scores(code, p, np.full(3, 1/3))
    assert s['log_loss']<.9*even['log_loss'] and s['auc']>.7 and s['rpss']>.15

def test_what_was_learnt_is_labelled(fitted):
    way,kind,m,_ = fitted; F,C = m.factors_,m.coef_
    if kind=='several':
        assert (C.dims==('lat','lon','class') and F.class_loading.dims==('class','component')
                and F.bias.dims==('class',) and list(F['class'].values)==list('abc') and m.rank_<=2)
        for v in C.sum('class'),F.class_loading.sum('class'),F.bias.sum('class'): assert abs(v).max()<1e-8
    else:
        assert (C.dims==('lat','lon') and list(F.threshold.values)==['dry|normal','normal|wet']
                and (F.bias.diff('threshold')<0).all() and m.rank_==1)
    left = C.sel(lon=slice(0, 4)) if kind=='several' else C
    assert np.corrcoef((left.isel({'class': 0}) if kind=='several' else left).values.ravel(),
                       (BLOB*(np.arange(8)<4))[:,:left.sizes['lon']].ravel())[0,1]>.5
    assert hasattr(m, 'coef_std_')==(way=='evidence') and (way=='sgd' or m.coef_std_.dims==C.dims)

def test_files_and_pages(fitted, tmp_path):
    way,kind,m,y = fitted; m.save(tmp_path/'m.mrtl'); back = MRTLClassifier.load(tmp_path/'m.mrtl')
    assert ((back.predict_proba(X)==m.predict_proba(X)).all() and list(back.classes_)==list(m.classes_)
            and back.factors_.equals(m.factors_) and back.coef_.equals(m.coef_) and back.score(X, y)==m.score(X, y))
    if (way,kind) in CASES[1:3]: return # a page of each kind, and of each way, is enough
    m.report(tmp_path/'page.html', X[TEST], y[TEST])
    assert 'given log loss' in (tmp_path/'page.html').read_text() and len(m.plot().axes)>2

def test_bootstrap():
    m = quick().fit(X[TRAIN], R[TRAIN]); boot = block_bootstrap(m, X[TRAIN], R[TRAIN], np.arange(160)//20, 2)
    assert boot.coef.equals(m.coef_) and (boot.coef_lower<=boot.coef_upper).all()

def test_checkpoints_and_finegraining_keep_what_they_have(tmp_path):
    """A fit that is cut off and resumed has the same bits, and no level but the factoring begins elsewhere than the
    last one ended."""
    class Stop:
        gradients = False
        def before_fit(self, t): pass
        def after_batch(self, t): pass
        def after_fit(self, t): pass
        def after_finegrain(self, r): self.seen = getattr(self, 'seen', 0)+1; assert self.seen<self.at
        def after_epoch(self, t): pass
    new = lambda **kw: MRTLClassifier(rank=2, method='sgd', schedule=[(2,2),(3,4),(6,8)], full_levels=2,
                                      max_epochs=4, optimizer='adam', dtype='float64', **kw)
    for y in Y,R:
        whole = new().fit(X, y); stop = Stop(); stop.at = 3
        with pytest.raises(AssertionError): new(checkpoint=str(tmp_path/'c')).fit(X, y, callbacks=[stop])
        assert (tmp_path/'c').exists()
        again = new(checkpoint=str(tmp_path/'c')).fit(X, y)
        assert (again.predict_proba(X)==whole.predict_proba(X)).all()
        assert max(abs(l['jump']) for l in whole.levels_ if l['jump'] is not None
                   and not (l['stage']=='low' and l['level']=='3x4'))<1e-9

def test_terms_take_several_classes(tmp_path):
    rng = np.random.default_rng(0); n = 1200
    t = pd.DataFrame(dict(player=rng.integers(0, 4, n), x=8*rng.random(n), y=6*rng.random(n)))
    s = np.c_[np.zeros(n), 3*np.sin(t.x/2), 2*(t.player.values%2)]
    c = CLASSES[(softmax(s, 1).cumsum(1)<rng.random(n)[:,None]).sum(1)]
    d = EventDesign.from_table(t, dict(player='player', court=('x','y')), dict(court=Grid((6,8), (0,6), (0,8))),
                               dict(player=True), lookup='bilinear')
    from mrtl import Term
    m = MRTLClassifier(terms=[Term('player', ridge=1.), Term('court', smooth=.1, ridge=1.),
                              Term(('player','court'), rank=1, smooth=1., ridge=10.)]).fit(d, c)
    assert m.score(d, c)>.55 and m.coef_['court'].dims==('y','x','class') and all(abs(v.sum('class')).max()<1e-8
            for v in m.coef_.values())
    m.save(tmp_path/'m.mrtl')
    assert (MRTLClassifier.load(tmp_path/'m.mrtl').predict_proba(d)==m.predict_proba(d)).all()
    with pytest.raises(ConfigError, match='a sum of terms does not know ordered classes'):
        MRTLClassifier(terms=['player']).fit(d, pd.Categorical(c, ordered=True))

# ---- covariates and offset

@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('kind', ['several','ordered'])
def test_covariates_of_classes(way, kind, tmp_path):
    "What a covariate adds is found, labelled, kept in files, and of several classes adds up to zero."
    rng = np.random.default_rng(3); z = pd.DataFrame(dict(b=2*rng.normal(size=260)))
    s = np.log(P)+z.values@[[0.,.7,-.7]]
    code = (softmax(s, 1).cumsum(1)<rng.random(260)[:,None]).sum(1)
    y = CLASSES[code]
    if kind=='ordered':
        h = np.log(P[:,0]/(1-P[:,0]))
        y = pd.Series(pd.Categorical.from_codes(np.digitize(h+.7*z.b+rng.logistic(size=260),
                np.quantile(h, [.3,.7])), RAIN, ordered=True))
    x,z0 = X[TRAIN] if way=='sgd' else X[TRAIN,::2,::2],z[TRAIN]
    m = MRTLClassifier(**WAYS[way]|(dict(rank=2 if kind=='several' else 1) if way=='sgd' else {})).fit(x,
            y[TRAIN], covariates=z0)
    c = m.covariates_
    want = np.array([0,.7,-.7]) if kind=='several' else np.array([.7])
    assert c.coef.dims==(('covariate','class') if kind=='several'
                         else ('covariate',)) and (abs(c.coef.values.ravel()-want)<3.5*c['std'].values.ravel()
                                                   +.05).all() and (c['std']<.4).all()
    assert kind=='ordered' or abs(c.coef.sum())<1e-8
    m.save(tmp_path/'m.mrtl')
    back = MRTLClassifier.load(tmp_path/'m.mrtl')
    assert (back.predict_proba(x, z0)==m.predict_proba(x, z0)).all() and back.covariates_.equals(c)

def test_an_offset_is_for_ordered_classes():
    off = np.where(np.arange(260)%2, 3., -3.)
    h = np.log(P[:,0]/(1-P[:,0]))
    cut = np.digitize(h+off+np.random.default_rng(0).logistic(size=260), np.quantile(h, [.3,.7]))
    for way in WAYS.values():
        with pytest.raises(ConfigError, match='changes no probability'): MRTLClassifier(**way).fit(X, Y, offset=off)
        m = MRTLClassifier(ordered=True, **way|(dict(rank=1) if way['method']=='sgd' else {})).fit(X[TRAIN,::2,::2],
                cut[TRAIN], offset=off[TRAIN])
        assert m.score(X[TEST,::2,::2], cut[TEST], offset=off[TEST])>.6>m.score(X[TEST,::2,::2],
                cut[TEST], offset=0*off[TEST])

# ---- labels, weights and scores

def quick(**kw): return MRTLClassifier(**dict(rank=1, method='sgd', max_epochs=2, optimizer='adam', valid=0)|kw)

def test_which_classes_there_are():
    names = lambda y, **kw: quick(**kw).fit(X, y); bins = pd.Categorical.from_codes(CUT, RAIN+['flood'])
    assert list(names(bins).classes_)==RAIN and names(bins).fitted_.loss=='softmax' and names(CUT,
            ordered=True).fitted_.loss=='ordered' and names(R, ordered=False).fitted_.loss=='softmax'
    two = pd.Series(pd.Categorical.from_codes((CUT>0)*1, ['wet','dry'], ordered=True))
    m = names(two)
    assert list(m.classes_)==['wet','dry'] and m.fitted_.loss=='logistic' and m.decision_function(X).shape==(len(X),)
    plain = names(np.where(CUT>0, 'dry', 'wet'))
    assert list(plain.classes_)==['dry','wet'] and np.allclose(m.predict_proba(X)[:,1],
            plain.predict_proba(X)[:,0], atol=.05)

def test_balanced_weights_are_corrected_for():
    "The mean probabilities are the frequencies, where a class is rare; costs stay in."
    few = np.flatnonzero((CODE>0)|(np.arange(len(CODE))%4==0))
    x,y = X[few],Y[few]
    rate = lambda k: np.bincount(CODE[few[:k]])/k
    even,costs = (quick(max_epochs=20, class_weight=c, lr=.03).fit(x, y) for c in ('balanced',dict(a=10.)))
    np.testing.assert_allclose(even.predict_proba(x).mean(0), rate(len(few)), atol=.06)
    assert costs.predict_proba(x)[:,0].mean()>rate(len(few))[0]+.1
    sure = MRTLClassifier(method='evidence', class_weight='balanced').fit(x[:70,::2,::2], y[:70])
    np.testing.assert_allclose(sure.predict_proba(x[:70,::2,::2]).mean(0), rate(70), atol=.06)

def test_problem_of_classes():
    design = FieldDesign.from_xarray(X, dtype=torch.float64)
    rows = dict(train=np.arange(120), valid=np.arange(120,180), test=np.arange(180,260))
    for kind,code in dict(classes=CODE, ordered=CUT).items():
        problem = Problem(design, code, rows, kind=kind, classes=list('abc'), rivals=field_rivals)
        m = problem.fit(problem.estimator(rank=2, max_epochs=10, method='sgd'))
        p = problem.predicted(m)
        found = problem.scores(p)['test']
        assert p.shape==(260,3) and ('rpss' in found)==(kind=='ordered') and m.fitted_.loss==('ordered'
                if kind=='ordered' else 'softmax')
        best = field_rivals(problem)
        assert ({'climatology','ridge','eof_ridge'}==set(best)
                and best['ridge']['test']['log_loss']<best['climatology']['test']['log_loss']
                and best['climatology']['test'].get('rpss', 0.)==0)
        t = table_of(range(260), p, code, classes=problem.classes, set=['test']*260)
        assert ([c for c in t if c.startswith('p_')]==['p_a','p_b','p_c']
                and (t.prediction.values==np.array(list('abc'))[p.argmax(1)]).all()
                and (t.truth.values==np.array(list('abc'))[code]).all())
    with pytest.raises(ConfigError, match='classes are not compared with cp_regressor'):
        field_rivals(problem, ('cp_regressor',))

def test_scikit_learn_takes_it():
    assert MRTLClassifier().__sklearn_tags__().classifier_tags.multi_class
    x = X.values[:80,::2,::2]
    assert cross_val_score(quick(), x, Y[:80], cv=StratifiedKFold(2)).mean()>.2 and -2<cross_val_score(quick(), x,
            R[:80], cv=2, scoring='neg_log_loss').mean()<0

def test_bad_labels_are_refused():
    def refused(kind, match, f):
        with pytest.raises(kind, match=match): f()
    m = quick().fit(X, Y); unseen = np.where(CODE==2, 'snow', Y)
    refused(DataError, "classes of the training rows; got 'snow' in", lambda: m.score(X, unseen))
    refused(DataError, "validation labels must be 'a', 'b' or 'c'", lambda: quick().fit(X, Y, valid=(X, unseen)))
    refused(DataError, "no sample has the class 'wet'", lambda: quick().fit(X[CUT<2], R[CUT<2]))
    refused(DataError, 'one class only', lambda: quick().fit(X, Y*0 if Y.dtype.kind!='U' else ['a']*len(Y)))
    refused(DataError, "no sample of the class 'c'", lambda: quick().fit(X, Y, sample_weight=(CODE<2)*1.))
    refused(ConfigError, 'ordered=True needs the order', lambda: quick(ordered=True).fit(X, Y))
    refused(ConfigError, "cannot be corrected for", lambda: quick(class_weight='balanced').fit(X, R))
    refused(ConfigError, 'ordered must be True, False or None', lambda: quick(ordered='yes').fit(X, Y))
    refused(DataError, r'no label \(NaN\) in 1 of', lambda: quick().fit(X, R.where(R.index>0)))
    refused(DataError, 'one class only', lambda: several_scores(np.zeros(3), np.full((3,3), 1/3)))

def test_files_of_other_classes_are_refused(tmp_path):
    from mrtl.store import load_tensors, save_tensors
    for y in Y,R:
        quick().fit(X, y).save(tmp_path/'m.mrtl')
        tensors,meta = load_tensors(tmp_path/'m.mrtl')
        meta['fitted']['classes_'].append('d')
        save_tensors(tmp_path/'m.mrtl', tensors, meta)
        with pytest.raises(FormatError, match='classes_ names 4 classes'): MRTLClassifier.load(tmp_path/'m.mrtl')
