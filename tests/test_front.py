"""The front door: the names of the package, their help texts, their types, and names that would be mistaken for
ordinary words."""
import ast, importlib, inspect, json, pkgutil, py_compile, pydoc, re, subprocess, sys
from importlib.metadata import entry_points
from pathlib import Path
import pytest
from fastcore.docments import docments
from nbdev.showdoc import show_doc
import mrtl
from mrtl.core import explain
from conftest import ROOT

FACE = ['MRTLRegressor', 'MRTLClassifier', 'Grid', 'FieldDesign', 'EventDesign', 'bin_points', 'Smoothness',
        'Callback', 'BlockSplit', 'simulate_field', 'simulate_events', 'factor_maps', 'coef_maps',
        'truth_maps', 'loss_curve', 'block_bootstrap', 'write_report', 'MRTLError', 'Term', 'Nodes', 'term_maps']
MODULES = sorted(m.name for m in pkgutil.walk_packages(mrtl.__path__, 'mrtl.') if not m.ispkg
                 and not m.name.split('.')[-1].startswith('_'))
per_name,per_module = pytest.mark.parametrize('name', FACE),pytest.mark.parametrize('module', MODULES)

# ---- names

@per_name
def test_name_resolves(name):
    obj = getattr(mrtl, name)
    exec(f'from mrtl import {name} as again', found := {})
    assert found['again'] is obj and name in importlib.import_module(obj.__module__).__all__
    assert inspect.getdoc(obj) and name in mrtl.__all__ and name in dir(mrtl)

def test_the_lists_of_names_agree():
    seen = {a.name: n.module for n in ast.walk(ast.parse(Path(mrtl.__file__).read_text())) if isinstance(n,
            ast.ImportFrom) and n.level==1 for a in n.names}
    assert sorted(FACE) == sorted(mrtl.__all__) and {k: v for k,v in seen.items() if k in FACE} == mrtl._MODULES, 'mrtl/__init__.py lists each name three times: __all__, _MODULES, and the imports for type checkers'

def test_import_is_light(python):
    heavy = ['torch', 'numpy', 'pandas', 'xarray', 'scipy', 'sklearn', 'matplotlib', 'fastcore']
    assert python(f"import sys, mrtl; print(mrtl.__version__, [m for m in {heavy} if m in "
                  f"sys.modules])") == f'{mrtl.__version__} []'
    assert python(f"import sys; from mrtl import MRTLError; print('torch' in sys.modules)") == 'False'

@pytest.mark.parametrize('name,said',
                         [('MRTLRegresor', 'did you mean MRTLRegressor?'), ('grid', 'did you mean Grid?'),
                          ('simulate_fields', 'did you mean simulate_field?'), ('xyz', 'mrtl.models')])
def test_wrong_name(name, said):
    with pytest.raises(AttributeError, match=re.escape(said)) as e: getattr(mrtl, name)
    assert repr(name) in str(e.value)
    with pytest.raises(ImportError): exec(f'from mrtl import {name}')

def test_module_that_nobody_imported(python):
    assert python("import mrtl\ntry: mrtl.estimators\nexcept AttributeError "
                  "as e: print(e)").endswith('write `import mrtl.estimators`')
    assert python("from mrtl import grids; print(grids.__name__)") == 'mrtl.grids'

# ---- help

def documented(module):
    "What a module defines for others: functions, classes, public methods and properties, by name."
    for name,obj in vars(module).items():
        if name.startswith('_') or getattr(obj, '__module__', '')!=module.__name__ or not callable(obj): continue
        yield name,obj
        if isinstance(obj, type) and not hasattr(obj, '_fields'):
            yield from ((f'{name}.{k}', getattr(v, '__func__', v))
                        for k,v in vars(obj).items() if not k.startswith('_')
                        and (isinstance(v, property) or inspect.isfunction(getattr(v, '__func__', v))))

def comments(obj):
    "The comments beside an object's arguments and result, as fastcore finds them by parsing the source."
    f = obj.fget if isinstance(obj, property) else obj
    found = docments(f, args_kwargs=True, returns=not isinstance(obj, type))
    return {k: v for k,v in found.items() if v and k!='self'}

def sections(doc):
    "Parameters and Returns of a docstring: name (or type, for Returns) to text."
    found = dict(zip(*[iter(re.split(r'^(Parameters|Returns)\n-+\n', doc, flags=re.M)[1:])]*2))
    items = re.findall(r'^(\w+)(?: : .+)?\n    (.+)$', found.get('Parameters', ''), re.M)
    return items,re.findall(r'^\S.*\n    (.+)$', found.get('Returns', ''), re.M)

@per_module
def test_help_has_every_comment_once(module):
    for name,obj in documented(importlib.import_module(module)):
        if not obj.__doc__: continue
        found = comments(obj); out = found.pop('return', None)
        items,result = sections(inspect.getdoc(obj))
        assert [n for n,_ in items] == list(found), name
        for n,text in items: assert re.sub(r' \[default: .*\]$', '', text) == found[n], f'{name}: {n}'
        assert result == ([out] if out else []), name

@per_module
def test_docs_show_comments_once(module):
    for name,obj in documented(importlib.import_module(module)):
        if isinstance(obj, property) or not obj.__doc__: continue
        try: text = show_doc(obj)._repr_markdown_()
        except NameError: continue # a type that is imported inside a function
        assert not re.search(r'^(Parameters|Returns)\n-', text, re.M), f'the docs of {name} repeat its comments'

@per_name
def test_help_in_a_terminal(name):
    obj = getattr(mrtl, name)
    text = re.sub(r'^ \|  ?', '', pydoc.plain(pydoc.render_doc(obj)), flags=re.M)
    for k,comment in comments(obj).items():
        assert len(re.findall(rf'^ *{k} : .+\n +{re.escape(comment)}', text,
                              re.M)) == 1 or k=='return' and comment in text, f'help({name}) does not say what {k} is'
    if isinstance(obj, type):
        for k,v in vars(obj).items():
            if not k.startswith('_') and inspect.isfunction(v):
                for a,comment in comments(v).items():
                    assert comment in pydoc.plain(pydoc.render_doc(v)), f'help({name}.{k}) does not say what {a} is'

def test_help_by_the_module_too(python):
    said = python("from mrtl.estimators import MRTLRegressor; help(MRTLRegressor.fit); help(MRTLRegressor)")
    assert 'Weight of each sample, (n,)' in said and said.count('Weight of the smoothness penalty') == 1

def test_records_have_help_beside_their_fields():
    from mrtl.basketball.handler import Tape
    assert all(getattr(Tape, f).__doc__ and 'Alias' not in getattr(Tape, f).__doc__ for f in Tape._fields)

def test_explaining_twice_changes_nothing():
    from mrtl import grids
    before = grids.Grid.__doc__; explain(grids)
    assert grids.Grid.__doc__ == before and before.count('Parameters') == 1

def test_help_without_docstrings_or_source(tmp_path):
    run = lambda *a: subprocess.run([sys.executable, *a], cwd=tmp_path, capture_output=True, text=True,
                                    check=True).stdout.strip()
    (tmp_path/'mrtl').mkdir()
    for f in '__init__', 'core': py_compile.compile(ROOT/'mrtl'/f'{f}.py', tmp_path/'mrtl'/f'{f}.pyc', doraise=True)
    assert run('-c', 'import mrtl.core as c; print(c.__file__[-4:], '
               'c.get_device.__doc__)') == '.pyc Find the torch device of that name.'
    for f in '__init__', 'core': (tmp_path/'mrtl'/f'{f}.py').write_bytes((ROOT/'mrtl'/f'{f}.py').read_bytes())
    assert run('-OO', '-c', 'import mrtl.core as c; print(c.get_device.__doc__, c.DataError.__doc__)') == 'None None'

def test_no_stored_output_holds_help_texts():
    for p in (ROOT/'nbs').rglob('*.ipynb'):
        text = p.read_text(encoding='utf-8')
        assert (p.name=='00_core.ipynb' or 'Parameters\\n",\n      "-----' not in text
                and '----------\\n' not in text), f'{p.name} stores a help text'

# ---- types

def test_package_is_typed():
    assert (ROOT/'mrtl'/'py.typed').is_file() and '"py.typed"' in (ROOT/'pyproject.toml').read_text()

def test_the_face_under_a_type_checker():
    done = subprocess.run([sys.executable, '-m', 'mypy', '--no-error-summary', '--hide-error-context'], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, f'{done.stdout}{done.stderr}'

# ---- words

WORDS = set('''align alone anywhere apart attend axis basketball bench best blocks cells claim climate column commit compare count counts coverage data date demo draw draws effect end epoch everyone events factor factors
    field fields file fit folder grid groups index interval label labels lead leads length level levels load loss map maps mask mean median method mode modes name names near noise now ocean output outputs pages plain plan
    plot player players point points predict prior project rain rank ranks rate rates ratio report row rows rule run runs sample samples scale score scores search seconds seed shape share shots sign size split start state
    states step stop strength summary table target targets terms test threads time times train truth unit units update valid value values variable wait ways weight weights window world worth'''.split())

def public(module): return importlib.import_module(module).__all__

def test_no_public_name_is_an_ordinary_word():
    "nbdev links a word in backticks to a public name that is the same, whatever the sentence means."
    found = {f'{m.removeprefix("mrtl.")}.{n}' for m in MODULES for n in public(m) if n in WORDS}
    assert not found, f'rename these, or make them `#| exporti`: {sorted(found)}'

def test_only_public_names_are_linked():
    linked = mrtl._linked['syms']
    assert ('mrtl.parallel.process_rank' in linked['mrtl.parallel']
            and 'mrtl.parallel.hold_threads' not in linked['mrtl.parallel']
            and 'mrtl.grids.Grid.locate' in linked['mrtl.grids'])
    assert not [k for d in linked.values() for k in d if re.search(r'\._(?!_)', k)]
    assert ([e.value for e in entry_points(group='nbdev') if e.name=='mrtl']
            == ['mrtl:_linked']), 'pip install -e . again: pyproject.toml names another index for nbdev'

# ---- the page on how it is built

def test_the_table_of_modules_is_fresh():
    page = json.loads((ROOT/'nbs'/'how_it_is_built.ipynb').read_text(encoding='utf-8'))
    table = ''.join(page['cells'][next(i
                                       for i,c in enumerate(page['cells'])
                                       if c.get('outputs'))]['outputs'][0]['data']['text/markdown'])
    order = [p for p in re.findall(r'\S+\.ipynb', (ROOT/'_quarto.yml').read_text().partition('sidebar:')[2])
             if re.search(r'(^|/)\d\d_', p)]
    def summary(p):
        return ' '.join(re.findall(r'^> (.*)', next(''.join(c['source']) for c in json.loads((ROOT/'nbs'/p).read_text(encoding='utf-8'))['cells'] if c['cell_type']=='markdown'), re.M))
    def module(p): return re.sub(r'(^|/)\d\d_', r'\1', p).removesuffix('.ipynb').replace('/', '.')
    rows = [f'| [{module(p)}]({p}) | {summary(p)} |' for p in order]
    assert [r for r in table.splitlines()[2:]
            if '](' in r] == rows, 'run nbs/how_it_is_built.ipynb again and store its output'

def test_promises_name_tests_that_are_there():
    text = (ROOT/'nbs'/'how_it_is_built.ipynb').read_text(encoding='utf-8')
    found = set(re.findall(r'`(tests/test_\w+\.py)`', text))
    assert len(found) > 8 and all((ROOT/f).is_file() for f in found)
