"""Whatever uses a fitted model works for both ways of fitting: one output, several, labels and counts."""
import inspect
from dataclasses import MISSING, fields
import matplotlib.pyplot as plt, numpy as np, pytest, xarray as xr
from mrtl.bootstrap import block_bootstrap
from mrtl.core import AbsentError, ConfigError, DataError, FormatError
from mrtl.designs import FieldDesign
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.ways import WAYS as ALL
from mrtl.fits import Fit
from mrtl.options import EvidenceOptions, GradientOptions, settled
from mrtl.simulate import simulate_field

N = 80
WAYS = {k: ALL[k] for k in ('sgd','evidence')} # a sum of terms is another kind of model: tests/test_terms.py
KINDS = ['one output','outputs','labels','counts']

@pytest.fixture(scope='module')
def months():
    ds = simulate_field(n=N+3, shape=(6,10), leads=2, variables=2, rank=1, r2=.8, seed=0)
    d = FieldDesign.from_xarray(ds.X, leads=2); y = ds.y.values[d.rows]; y = (y-y.mean())/y.std()
    return d,{'one output': y, 'outputs': np.stack([y, np.roll(y, 1)-.5*y], 1), 'labels': np.where(y>0, 'wet', 'dry'),
              'counts': np.random.default_rng(0).poisson(np.exp(.5*y))}

def estimator(way, kind, **kw):
    cls = MRTLClassifier if kind=='labels' else MRTLRegressor
    few = dict(optimizer='adam', max_epochs=20) if way=='sgd' else {} # L-BFGS would go on to the end
    return cls(**dict(rank=2, method=way, **few, **(dict(loss='poisson') if kind=='counts' else {})) | kw)

@pytest.fixture(scope='module', params=[(w, k) for w in WAYS for k in KINDS], ids=lambda p: '-'.join(p))
def fitted(request, months):
    way,kind = request.param; d,ys = months
    return way,kind,estimator(way, kind).fit(d, ys[kind]),d,ys[kind]

def test_the_fit_has_every_member(fitted):
    way,kind,m,d,y = fitted; f = m.fitted_
    assert isinstance(f, Fit) and type(f) is WAYS[way] and m.method_==way==f.way
    assert f.scores(d).shape==(len(d), 2 if kind=='outputs' else 1) and f.components(d).shape==(len(d), m.rank_)
    assert (tuple(f.full.shape[:3])==(2, 2, 60) and len(f.history)==len(m.history_) and f.levels==m.levels_
            and f.low.rank==f.rank==m.rank_)
    assert (f.spread(d) is None)==(f.coef_std() is None)==(way=='sgd')

def test_scores_are_the_coefficients_at_work(fitted):
    _,kind,m,d,_ = fitted; x = d.batch().x.flatten(1).double(); W = m.fitted_.full.double().reshape(x.shape[1], -1)
    np.testing.assert_allclose(m.fitted_.scores(d), (x@W+m.fitted_.scorer.bias.detach()).numpy(), rtol=1e-8, atol=1e-8)

def test_predictions_and_components(fitted):
    way,kind,m,d,y = fitted
    assert m.predict(d).shape==y.shape and m.transform(d).shape==(len(d), m.rank_)
    if kind=='labels':
        assert set(m.predict(d))<={'wet','dry'} and np.allclose(m.predict_proba(d).sum(1), 1) and m.score(d, y)>.6
    else: assert np.isfinite(m.score(d, y))
    if kind=='labels': return
    if way=='sgd':
        with pytest.raises(ConfigError, match="return_std needs method='evidence'.*'sgd'"):
            m.predict(d, return_std=True)
    else:
        mean,std = m.predict(d, return_std=True)
        assert std.shape==mean.shape and (std>0).all() and np.array_equal(mean, m.predict(d))

def test_what_was_learnt_is_labelled(fitted):
    way,kind,m,_,_ = fitted; F,C = m.factors_,m.coef_
    assert ({'lead_loading','variable_loading','space','strength','bias'}<=set(F)
            and ('output_loading' in F)==(kind=='outputs') and F.sizes['component']==m.rank_)
    assert C.dims==('lead','variable','lat','lon')+(('output',) if kind=='outputs' else ())
    weights,factors = m.cp_tensor_
    assert len(weights)==m.rank_ and [len(f) for f in factors]==[2, 2, 60]+([2] if kind=='outputs' else [])
    if way=='evidence': assert m.coef_std_.dims==C.dims and (m.coef_std_>0).all()

def test_what_is_absent_is_absent(fitted):
    "`hasattr`, `dir` and completion ask for every attribute."
    way,_,m,_,_ = fitted
    assert hasattr(m, 'coef_std_')==('coef_std_' in dir(m))==(way=='evidence') and 'factors_' in dir(m)
    if way=='sgd':
        with pytest.raises(AbsentError, match="needs method='evidence'"): m.coef_std_
    assert not hasattr(type(m)(), 'coef_') and 'coef_' not in dir(type(m)())

def test_files(fitted, tmp_path):
    way,kind,m,d,_ = fitted; m.save(tmp_path/'m.mrtl'); back = type(m).load(tmp_path/'m.mrtl')
    assert (back.method_==way and back.get_params()==m.get_params() and back.levels_==m.levels_
            and back.history_.equals(m.history_) and back.factors_.equals(m.factors_))
    assert np.array_equal(back.predict(d),
                          m.predict(d)) and back.coef_.equals(m.coef_) and np.array_equal(back.transform(d),
            m.transform(d))
    if way=='evidence': np.testing.assert_allclose(back.coef_std_, m.coef_std_, rtol=1e-10)
    other = MRTLRegressor if kind=='labels' else MRTLClassifier
    with pytest.raises(FormatError, match='load it with its own class'): other.load(tmp_path/'m.mrtl')

def test_bootstrap(fitted, tmp_path):
    "Two draws from files and again: intervals of everything that the model has, and its own way in every draw."
    way,kind,m,d,y = fitted; blocks = np.arange(len(d))//8
    boot = block_bootstrap(m, d, y, blocks, 2, folder=tmp_path/'draws')
    again = block_bootstrap(m, d, y, blocks, 2, folder=tmp_path/'draws')
    assert boot.equals(again) and {'space_lower','space_upper','coef_lower','coef_agree','stability',
                                   'effect'}<=set(boot) and (boot.space_lower<=boot.space_upper).all()
    assert (boot.coef.equals(m.coef_) and boot.sizes['component']==m.rank_ and np.isfinite(boot.stability).all()
            and (boot.coef_lower<=boot.coef_upper).all())

def test_bootstrap_of_a_default_fit():
    "The default takes evidence here, whose draws may find fewer or more components than the reference."
    ds = simulate_field(n=N, shape=(6,10), leads=1, variables=1, rank=2, r2=.6, seed=1)
    d = FieldDesign.from_xarray(ds.X, leads=1)
    y = ds.y.values[d.rows]
    for m in MRTLRegressor(),MRTLRegressor().fit(d, y):
        boot = block_bootstrap(m, d, y, np.arange(len(d))//8, 3)
        assert np.isfinite(boot.coef_lower).all() and boot.attrs['draws']==3
    assert m.method_=='evidence'

def test_the_page_and_the_picture(fitted, tmp_path):
    "Of the fit alone, and with scores on samples of one's own."
    way,kind,m,d,y = fitted; m.report(tmp_path/'alone.html')
    m.report(tmp_path/'judged.html', d.take(range(30)), y[:30], title='Thirty months')
    alone,judged = ((tmp_path/f'{k}.html').read_text() for k in ('alone','judged'))
    assert 'Thirty months' in judged and len(judged)>len(alone) and ('given auc' in judged,
            'given r2' in judged)==(kind=='labels', kind!='labels')
    fig = m.plot('The fit'); assert len(fig.axes)>=4; plt.close(fig)

def test_an_output_without_values_is_refused(months):
    d,ys = months; Y = ys['outputs'].copy(); Y[:,1] = np.nan
    for way in WAYS:
        with pytest.raises(DataError, match='output 1 has no observed value'): estimator(way, 'outputs').fit(d, Y)

# ---- options

@pytest.mark.parametrize('cls', [MRTLRegressor, MRTLClassifier])
def test_constructors_agree_with_the_options(cls):
    "Names and defaults, and the comment of every setting, word for word."
    given,text = inspect.signature(cls).parameters,inspect.getsource(cls.__init__).splitlines()
    comment = lambda lines, name: next(l.split('#', 1)[1].strip() for l in lines if l.strip().startswith(f'{name}:'))
    for kind in (GradientOptions, EvidenceOptions):
        source = inspect.getsource(kind).splitlines()
        for f in fields(kind):
            if f.name=='window' and cls is MRTLClassifier: continue # labels are never sums
            assert f.default is not MISSING and given[f.name].default==f.default, f.name
            assert comment(text, f.name)==comment(source, f.name), f'{f.name} means something else in {kind.__name__}'

def test_named_optimisers_are_taken_whatever_the_rows():
    rng = np.random.default_rng(0); X = rng.normal(size=(60, 4, 6)); y = X[:,1,2]+.1*rng.normal(size=60)
    by = {o: MRTLRegressor(rank=1, method='sgd', optimizer=o, max_epochs=3).fit(X, y)
          for o in ('auto','adam','Adam','lbfgs')}
    assert by['adam'].history_.drop(columns='seconds').equals(by['Adam'].history_.drop(columns='seconds'))
    assert by['auto'].history_.train_loss.iloc[-1]<.5*by['adam'].history_.train_loss.iloc[-1]
    assert settled(GradientOptions(), 60).optimizer=='lbfgs' and settled(GradientOptions(), 200).optimizer=='adam'

def test_full_options_may_say_auto_and_are_named_in_errors():
    rng = np.random.default_rng(0); X = rng.normal(size=(60, 4, 6)); y = X[:,1,2]+.1*rng.normal(size=60)
    MRTLRegressor(rank=1, method='sgd', max_epochs=1, full_options=dict(optimizer='auto')).fit(X, y)
    with pytest.raises(ConfigError, match='full_options: lr must be'): MRTLRegressor(full_options=dict(lr=-1)).fit(X, y)
