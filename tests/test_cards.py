"""What a fitted model shows in a notebook: a card that is small, safe and true, and pictures with x across."""
import re, sys
from base64 import b64encode
import numpy as np
import pytest
import mrtl
from mrtl.cards import card, facts_of
from mrtl.core import progress
from mrtl.panels import png
from small_fits import _problem

@pytest.fixture(scope='module')
def fields():
    "A fit of fields by evidence."
    design,y = _problem()
    return mrtl.MRTLRegressor().fit(design, y['one'])

@pytest.fixture(scope='module')
def events():
    "A fit of events on a court whose x comes first, 8 by 10, with a label that is markup."
    table = mrtl.simulate_events(n=400, players=4, court=(8,10), defender=(6,6)).table
    table['player'] = '<i>&"'+table.player.astype(str)
    design = mrtl.EventDesign.from_table(table, dict(player='player', court=('x','y')),
                                         grids=dict(court=mrtl.Grid((8,10), names=('x','y'))))
    return design,mrtl.MRTLClassifier(rank=1, method='sgd', max_epochs=1).fit(design, table.label.values)

def test_a_card_is_small_and_holds_no_script(fields):
    html = fields._repr_mimebundle_()['text/html']
    assert html == fields._repr_html_() == card(fields)
    assert len(html) < 60_000 and '<script' not in html and 'data:image/png;base64,' in html
    assert 'color:#' not in html.replace('background:#', ''), 'text takes the colours of the page, light or dark'

def test_a_card_says_how_it_was_learnt(fields, events):
    assert (facts_of(fields)['way'] == 'evidence' and 'log evidence' in facts_of(fields)
            and 'optimiser' not in facts_of(fields))
    assert facts_of(events[1])['way'].startswith('gradients') and {'optimiser', 'time'} <= facts_of(events[1]).keys()
    best = f"{float(fields.history_.evidence.max()):.1f}"
    assert facts_of(fields)['log evidence'] == best and f'>{best}<' in card(fields)

def test_before_the_fit_the_settings_are_shown():
    html = mrtl.MRTLRegressor(rank=7)._repr_html_()
    assert 'Parameters' in html and 'MRTLRegressor' in html

def test_names_are_escaped(events):
    assert '<i>' not in events[0]._repr_html_() and '&lt;i&gt;&amp;' in events[0]._repr_html_()

def test_a_model_from_a_file_shows_itself(events, tmp_path):
    events[1].save(tmp_path/'m.mrtl')
    assert 'gradients' in mrtl.MRTLClassifier.load(tmp_path/'m.mrtl')._repr_html_()

def test_x_is_drawn_across(events, tmp_path):
    "By `plot`, by `report`, and in the card, also where x comes first in the table."
    m = events[1]; axes = m.plot().axes[0]
    assert m.factors_.court.dims[:2] == ('x','y') and axes.get_ylabel() == 'y'
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 8), (0, 10))
    m.report(tmp_path/'page.html'); page = (tmp_path/'page.html').read_text()
    across = mrtl.factor_maps(m.factors_.transpose('y', 'x', ...)); down = mrtl.factor_maps(m.factors_)
    assert [b64encode(png(f, 160)).decode() in page for f in (across, down)] == [True, False]

def test_a_bar_in_jupyter_and_none_in_a_log(monkeypatch, capsys):
    "Jupyter's stream is no terminal; its kernel tells that somebody looks."
    assert list(progress(range(3))) == [0, 1, 2] and capsys.readouterr().err == ''
    IPython = pytest.importorskip('IPython')
    monkeypatch.setattr(IPython, 'get_ipython', lambda: type('Shell', (), dict(kernel=1, config={}))())
    assert list(progress(range(3))) == [0, 1, 2] and '0/3' in capsys.readouterr().err

@pytest.mark.parametrize('name', ('fields','events'))
def test_maps_to_point_at(name, request):
    "plotly's maps hold the numbers of `factors_`, x across, and nothing where there is land; labels stay text."
    pytest.importorskip('plotly'); m = request.getfixturevalue(name)
    m = m[1] if name == 'events' else m
    fig = m.plot(hover=True, title='<script>'); first = fig.data[0]
    v = m.factors_['court' if name == 'events' else 'space'].isel(component=0)
    down,across = ('y','x') if name == 'events' else v.dims[-2:]
    np.testing.assert_allclose(np.array(first.z, float), v.squeeze(drop=True).transpose(down, across).values)
    np.testing.assert_array_equal(first.x, v[across].values)
    assert fig.layout.title.text == '&lt;script&gt;' and first.zmax == -first.zmin == np.nanmax(np.abs(v.values))

def test_without_plotly_the_remedy_is_named(fields, monkeypatch):
    monkeypatch.setitem(sys.modules, 'plotly', None); monkeypatch.setitem(sys.modules, 'plotly.subplots', None)
    with pytest.raises(mrtl.core.ConfigError, match=r"pip install 'mrtl\[hover\]'"): fields.plot(hover=True)
