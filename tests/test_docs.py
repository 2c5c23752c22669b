"""The docs, as far as they can be checked without Quarto: every page renders, nothing dangles, nothing leaks, every
public name is documented."""
import ast, dataclasses, html, importlib, inspect, json, os, re, shutil, subprocess, sys
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
import pytest, yaml
from nbdev.config import nbpath2html
from nbdev.doclinks import nbglob
from conftest import ROOT, copy_sources
import mrtl, mrtl._docs, preview
from mrtl.cli import COMMANDS, main

NOTEBOOKS = sorted(p.relative_to(ROOT/'nbs').as_posix() for p in nbglob(ROOT/'nbs', as_path=True))
MODULES = sorted('.'.join(p.relative_to(ROOT/'mrtl').with_suffix('').parts)
                 for p in (ROOT/'mrtl').rglob('*.py') if not p.stem.startswith('_'))
per_page = pytest.mark.parametrize('page', NOTEBOOKS)

@pytest.fixture(scope='session')
def site(once):
    "All pages rendered from a copy of the sources, once for all workers; `complaints.json` beside them."
    def make(folder):
        copy = copy_sources(folder/'tree')
        (folder/'complaints.json').write_text(json.dumps(preview.docs(copy, folder/'site')))
    return once('docs', make)

class Page(HTMLParser):
    "A page's links, images, anchors, and its text in and out of code."
    def __init__(self, file):
        super().__init__()
        self.links,self.images,self.ids,self.code,self.prose,self.inside = [],[],set(),[],[],[]
        self.silent,self.elsewhere,self.turn = [],[],{}
        self.feed(file.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs: self.ids.add(attrs['id'])
        if tag == 'a' and 'href' in attrs: self.links.append(attrs['href'])
        if tag == 'a' and attrs.get('class') in ('before', 'after'): self.turn[attrs['class']] = attrs['href']
        if tag == 'img': self.images.append(attrs.get('src', ''))
        if tag == 'img' and len(attrs.get('alt') or '') < 30: self.silent.append(attrs.get('src', ''))
        url = attrs.get('src') or attrs.get('href') or ''
        if tag in ('script', 'link', 'img', 'iframe', 'source') and re.match('https?:|//', url):
            self.elsewhere.append(url)
        if tag in ('pre', 'code', 'style', 'script', 'annotation', 'h3'): self.inside.append(tag)
        if tag in ('pre', 'h3'): self.code.append([tag, ''])
    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]: self.inside.pop()
    def handle_data(self, data):
        if {'pre', 'h3'} & set(self.inside): self.code[-1][1] += data
        elif not self.inside: self.prose.append(data)

parse = lru_cache(Page)
def parsed(site, page): return parse(site/'site'/nbpath2html(page))

# ---- pages

@per_page
def test_page_renders_without_complaint(site, page):
    assert json.loads((site/'complaints.json').read_text())[page] == []
    text = (site/'site'/nbpath2html(page)).read_text(encoding='utf-8')
    assert preview.FOOT in html.unescape(text) and '<h1>' in text

@per_page
def test_links_and_images_resolve(site, page):
    here,p = site/'site'/nbpath2html(page),parsed(site, page)
    for url in p.links+p.images:
        if re.match(r'https?://|mailto:|data:', url): continue
        path,_,fragment = url.partition('#')
        file = here.parent/path if path else here
        assert not url.startswith('/') and file.is_file(), f'{page} points to {url}, which is not there'
        if fragment: assert fragment in parse(file).ids, f'{page} points to {url}, but that page has no #{fragment}'

@per_page
def test_every_figure_says_in_words_what_it_shows(site, page):
    silent = parsed(site, page).silent
    why = (f'{page}: {silent} have no alternative text of thirty letters or more: write #| fig-alt: "..." at '
           f'the top of their cells')
    assert not silent, why

@per_page
def test_page_reads_without_the_network(site, page):
    """Nothing is loaded from elsewhere, neither by the preview nor by Quarto, which fetches two libraries for any
    HTML output or widget."""
    assert parsed(site, page).elsewhere == []
    book = json.loads((site/'tree'/'_proc'/page).read_text(encoding='utf-8'))
    kinds = {k for c in book['cells'] for o in c.get('outputs', []) for k in o.get('data', {})}
    assert not {k for k in kinds if k == 'text/html' or 'javascript' in k
                or 'widget' in k} and 'widgets' not in book['metadata']

@per_page
def test_entries_are_prose(site, page):
    """Headings of entries stand in the table of contents, types are short, and no link leads to a source whose
    address is not known."""
    text = (site/'site'/nbpath2html(page)).read_text(encoding='utf-8')
    assert '[source]' not in text and '/blob/' not in text
    p = parse(site/'site'/nbpath2html(page))
    long = r'^[^#\n]*(\bxarray\.core|__main__|\bmrtl\.\w+\.|\bnumpy\.ndarray)'
    for tag,shown in p.code:
        if tag == 'pre' and shown.startswith('def '): assert not re.search(long, shown, re.M), f'{page}: {shown}'

@per_page
def test_pages_lead_to_their_neighbours(site, page):
    row = list(hrefs(quarto()['website']['sidebar']['contents'])); i = row.index(page)
    here,turn = site/'site'/nbpath2html(page),parsed(site, page).turn
    def page_of(way): return (here.parent/turn[way]).resolve() if way in turn else None
    want = {way: (site/'site'/nbpath2html(row[j])).resolve() if 0 <= j < len(row) else None
            for way,j in (('before', i-1), ('after', i+1))}
    assert {way: page_of(way) for way in want} == want

def test_there_is_a_page_for_what_is_not_there(site):
    p = parse(site/'site'/'404.html')
    assert 'index.html' in p.links and not p.turn

LEAKS = r'#\||\{\.|\{#|:::|\?@|(?<!\w)@(?:eq|fig|tbl|sec)-|\$\$|\\begin\{|\]\('

@per_page
def test_nothing_leaks(site, page):
    p = parsed(site, page)
    for text in p.prose: assert not re.search(LEAKS, text), f'{page} shows markup: {text!r}'
    for tag,text in p.code: assert '#|' not in text, f'{page} shows a directive: {text!r}'

@pytest.mark.parametrize('text', ['#| echo: false', '::: {.callout}', '{#eq-a}', '?@eq-a',
                                  'see @fig-map', '$$x', '[a](b.html)'])
def test_leaks_are_recognised(text): assert re.search(LEAKS, text)

# ---- what Quarto reads of a cell

def blocks(path):
    "The `#|` lines of each cell that hold `name: value`, as Quarto puts them together."
    for c in json.loads((ROOT/'nbs'/path).read_text(encoding='utf-8'))['cells']:
        lines = [l[2:].strip() for l in ''.join(c['source']).splitlines() if l.startswith('#|')]
        if found := [l for l in lines if re.match(r'[\w-]+:', l)]: yield '\n'.join(found)

def bad_yaml(block):
    "Why a block is no YAML mapping; nothing where it is one."
    try: found = yaml.safe_load(block)
    except yaml.YAMLError as e: return str(e)
    return '' if isinstance(found, dict) else f'it holds {found!r}'

@per_page
def test_cell_options_are_yaml(page):
    for block in blocks(page):
        assert not bad_yaml(block), f'{page}: Quarto stops at\n{block}\nQuote values that hold ": ", "#" or begin with a bracket'

@pytest.mark.parametrize('block', ['fig-alt: Maps: two of them', 'fig-alt: [a', 'fig-cap: "half', 'echo:false'])
def test_bad_yaml_is_seen(block): assert bad_yaml(block)

COPIED = [p for p in NOTEBOOKS if p.startswith('tutorials/') or p in ('index.ipynb', 'reference.ipynb')]

@pytest.mark.parametrize('page', COPIED)
def test_cells_can_be_copied(page):
    "No hidden cell brings a name that a shown one uses, and an error that is shown is printed."
    for c in json.loads((ROOT/'nbs'/page).read_text(encoding='utf-8'))['cells']:
        source = ''.join(c['source'])
        if c['cell_type'] != 'code': continue
        hidden = re.search(r'^#\|\s*(hide\b|include: *false)', source, re.M)
        assert not (hidden and re.search(r'^\s*(import|from)\b', source,
                                         re.M)), f'{page} imports in a hidden cell:\n{source}'
        assert 'expect_fail' not in source, f'{page}: show the error, by `except ... as e: print(e)`'
        said = ''.join(''.join(o.get('text', '')) for o in c['outputs'] if o['output_type'] == 'stream')
        assert len(re.findall(r'^except .* as e: print\(', source,
                              re.M)) <= len(said.splitlines()), f'{page} stores no error for\n{source}'

# ---- public names

def names():
    for m in MODULES:
        module = importlib.import_module(f'mrtl.{m}')
        for name in module.__all__: yield m,name

def is_record(obj): return dataclasses.is_dataclass(obj) or hasattr(obj, '_fields')

def parameters(obj):
    "The parameters of a function or class; none for an exception, whose signature is a builtin's."
    try: return inspect.signature(obj).parameters.values()
    except ValueError: return []

def inherited(obj):
    "Fields that a record takes over from public records, on whose pages they are documented."
    public = {n for _,n in names()}
    return {f.name for b in getattr(obj, '__mro__', ())[1:] if dataclasses.is_dataclass(b) and b.__name__ in public
            for f in dataclasses.fields(b)}

def undocumented(obj, shown):
    """What is missing, parameter by parameter, in a shown signature (or in the shown source of a record): the line,
    a true type, a comment."""
    elsewhere = inherited(obj)
    for p in (p for p in parameters(obj) if p.name not in elsewhere):
        stars = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
        line = next((l for l in shown.splitlines() if re.match(rf'\s+(\*, )?{re.escape(stars+p.name)}\b', l)), '')
        if not line: yield f'{p.name} is not shown'
        elif not re.search(rf'\b{p.name}:(?!NoneType)', line): yield f'{p.name} has no type'
        elif '#' not in line and p.kind != p.VAR_KEYWORD: yield f'{p.name} has no comment'  # nbdev leaves out the comment of **kwargs

@pytest.mark.parametrize('module,name', [pytest.param(m, n, id=f'{m}.{n}') for m,n in names()])
def test_public_name_is_documented(site, module, name):
    obj = getattr(importlib.import_module(f'mrtl.{module}'), name)
    page = next(p for p in NOTEBOOKS if re.sub(r'(^|/)\d\d_', r'\1', p) == module.replace('.', '/')+'.ipynb')
    code = parsed(site, page).code
    if not hasattr(obj, '__name__'):
        assert any(re.search(rf'\b{name}\b', text) for tag,text in code if tag == 'pre'), f'{page} does not show the constant {name}: mark its cell `#| exports`, or show it in an example'
        return
    at = next((i for i,(tag,text) in enumerate(code) if tag == 'h3' and text.strip() == name), None)
    assert at is not None, f'{page} has no entry for {name}'
    shown = next((text for tag,text in code[at+1:at+2] if tag == 'pre'), '')
    assert re.search(rf'^def {re.escape(name)}\(', shown, re.M), f'{page} shows no signature of {name}'
    if is_record(obj):
        shown = next((text for tag,text in code if tag == 'pre' and re.search(rf'^class {name}\b', text, re.M)), '')
        assert shown, f'{page} shows no comments for the fields of {name}, which nbdev takes from the source alone: mark its cell `#| exports`'
    missing = list(undocumented(obj, shown))
    assert not missing, f'{module}.{name}: {"; ".join(missing)}'
    assert inspect.getdoc(obj), f'{module}.{name} has no docstring'

def test_undocumented_sees_what_is_missing():
    def f(a, b, *, c=None, d:int=0, **kw): pass
    shown = ('def f(\n    a, # no type\n    b:int,\n    *, c:NoneType=None, # no true type\n    '
             'd:int=0, # fine\n    **kw\n):')
    assert list(undocumented(f, shown)) == ['a has no type', 'b has no comment', 'c has no type', 'kw has no type']

# ---- the page of the names of `import mrtl`

def cells_of(page): return json.loads((ROOT/'nbs'/page).read_text(encoding='utf-8'))['cells']

def short_signatures():
    "Name and signature of each entry of the reference page."
    text = '\n'.join(''.join(c['source']) for c in cells_of('reference.ipynb') if c['cell_type'] == 'markdown')
    return re.findall(r'^### (\w+)\n\n```python\n(.*)\n```', text, re.M)

def test_reference_has_each_public_name_once():
    assert sorted(n for n,_ in short_signatures()) == sorted(mrtl.__all__)

@pytest.mark.parametrize('name,signature', short_signatures(), ids=lambda v: v if v.isidentifier() else '')
def test_short_signatures_are_true(name, signature):
    if '(' not in signature: assert signature == name; return
    call = ast.parse(f"def {signature.replace(', ...)', ')')}: 0").body[0]
    real = inspect.signature(getattr(mrtl, name)).parameters
    given,none = call.args.args+call.args.kwonlyargs,inspect.Parameter.empty
    values = dict(zip([a.arg for a in call.args.args][::-1], call.args.defaults[::-1]))
    values |= {a.arg: d for a,d in zip(call.args.kwonlyargs, call.args.kw_defaults) if d}
    for a in given:
        assert a.arg in real, f'{name} has no argument {a.arg}'
        want,said = real[a.arg].default,ast.literal_eval(values[a.arg]) if a.arg in values else none
        assert want is said or want == said, f'{name}: the default of {a.arg} is {want!r}'
    if not signature.endswith(', ...)'): assert [a.arg for a in given] == list(real)

USERS = [c for c in COMMANDS if c not in ('compare', 'search', 'bench')]

@pytest.mark.parametrize('command', USERS)
def test_the_page_of_the_command_line_shows_every_option(command, capsys):
    with pytest.raises(SystemExit): main([command, '--help'])
    words = capsys.readouterr().out.split()
    cells = [c for c in cells_of('command_line.ipynb') if c['cell_type'] == 'code'
             and f"options_of('{command}')" in ''.join(c['source'])]
    shown = [''.join(''.join(o.get('text', '')) for o in c['outputs']) for c in cells]
    assert len(words) > 10 and [s.split()
                                for s in shown] == [words], 'run nbs/command_line.ipynb again and store its output'

# ---- README.md and _quarto.yml

def test_readme_is_fresh(site):
    text,images,said = preview.readme(site/'tree')
    assert said == []
    assert (ROOT/'README.md').read_text(encoding='utf-8') == text, 'run `python tools/preview.py --readme`'
    for name,data in images.items(): assert (ROOT/name).read_bytes() == data, 'run `python tools/preview.py --readme`'
    for url in re.findall(r'\]\(([^)\s]+)\)', text):
        if not re.match(r'https?://|#', url):
            assert (ROOT/url.split('#')[0]).exists(), f'README.md points to {url}, which is not there'

def quarto(): return yaml.safe_load((ROOT/'_quarto.yml').read_text())

def test_quarto_yml_is_valid():
    rules = 'quarto-schema-unknown-key,quarto-schema-invalid-enum,quarto-schema-type-mismatch'
    done = subprocess.run([Path(sys.executable).parent/'panache', 'lint', '--no-cache', '--extend-select', rules,
                           '_quarto.yml'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and 'No issues' in done.stdout+done.stderr, done.stdout+done.stderr

def test_quarto_yml_says_what_we_mean():
    config = quarto()
    page = config['format']['html']
    assert config['project']['type'] == 'website'
    assert page['toc'] is True and page['html-math-method'] == 'mathml'
    assert (ROOT/'nbs'/page['css']).is_file() and set(page['theme']) == {'light', 'dark'}
    assert page['code-overflow'] == 'wrap' and page['grid'] == {'body-width': '950px'}
    web = config['website']
    assert web['page-navigation'] is True and web['sidebar']['collapse-level'] == 1
    assert mrtl.__version__ in web['page-footer']['left'] and (ROOT/'nbs'/'404.qmd').is_file()
    assert config['metadata-files'] == ['nbdev.yml'] and (ROOT/'nbs'/'nbdev.yml').is_file()
    link = ROOT/'nbs'/'_quarto.yml'
    assert link.is_symlink() and os.readlink(link) == '../_quarto.yml'

def hrefs(items):
    for item in items:
        if isinstance(item, str): yield item
        elif 'section' in item: yield from hrefs(item['contents'])
        else: yield item['href']

def test_sidebar_lists_every_page_once():
    web = quarto()['website']
    assert sorted(hrefs(web['sidebar']['contents'])) == NOTEBOOKS
    assert set(hrefs(web['navbar']['left'])) <= set(NOTEBOOKS)

def test_what_nbdev_asks_of_quarto(site, tmp_path):
    "With a stub that logs its arguments and makes the folder it is asked for, nbdev-docs runs to its end."
    copy = shutil.copytree(site/'tree', tmp_path/'tree', symlinks=True)
    stub,log = tmp_path/'bin'/'quarto',tmp_path/'log'
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\necho "$@" >> {log}\nfor last; do :; done\nmkdir -p "$last"\n'); stub.chmod(0o755)
    bins = os.pathsep.join([str(stub.parent), str(Path(sys.executable).parent), os.environ['PATH']])
    env = {k: v for k,v in os.environ.items() if k != 'IN_TEST'} | dict(PATH=bins, PYTHONPATH=str(copy))
    done = subprocess.run(['nbdev-docs', '--n-workers', '1'], cwd=copy, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert log.read_text().split()[:2] == ['render', '--no-cache'] and (copy/'_docs').is_dir()

# ---- nbdev's last step

class Cell(dict):
    __getattr__,__setattr__ = dict.__getitem__,dict.__setitem__

def entry(text):
    return Cell(cell_type='code', source='show_doc(f)', outputs=[dict(data={'text/markdown': text, 'text/plain': 'f'})])

LONG = """---

[source](/blob/main/mrtl/a.py#L1){target="_blank"}

### f

```python
def f(
    x:xarray.core.dataarray.DataArray, # see mrtl.grids.Grid
    dt:torch.dtype=torch.float32, # a.B
)->numpy.ndarray | None:
```

*Of mrtl.grids.Grid.*"""

SHORT = """### f

```python
def f(
    x:DataArray, # see mrtl.grids.Grid
    dt:torch.dtype=torch.float32, # a.B
)->ndarray | None:
```

*Of mrtl.grids.Grid.*"""

def test_an_entry_becomes_prose_with_short_types():
    cell = entry(LONG)
    mrtl._docs.PlainPage(None)(cell)
    assert cell == dict(cell_type='markdown', source=SHORT)

def test_html_becomes_a_raw_block_and_widgets_go():
    data = {'text/html': ['<style scoped>b {}</style><b>```</b>', '!'],
            'application/vnd.jupyter.widget-view+json': {}, 'text/plain': 'x'}
    mrtl._docs.PlainPage(None)(Cell(cell_type='code', source='x', outputs=[dict(data=data)]))
    assert list(data) == ['text/plain', 'text/markdown'] and data['text/markdown'].startswith('````{=html}\n')
    assert '>\n<b>```</b>!\n<' in data['text/markdown']

# ---- the preview itself

def test_preview_complains():
    said = []
    cell = dict(cell_type='code', source='#| ehco: false\n1', outputs=[])
    preview.code(cell, 'html', None, said.append)
    preview.prose('see @eq-none', 'html', {}, said.append)
    preview.pandoc(r'$\nosuchmacro{x}$', 'html5', said.append, '--mathml')
    assert len(said) == 3, said

def test_preview_numbers_equations():
    text = preview.prose('$$a$$ {#eq-a} by @eq-a and `@eq-a`', 'html', {'eq-a': 7}, pytest.fail)
    assert text == r'[$$a \qquad(7)$$]{#eq-a} by [Equation 7](#eq-a) and `@eq-a`'

@pytest.mark.parametrize('line,shown', [('#| echo: false', False), ('#| include: false', False), ('', True)])
def test_preview_honours_directives(line, shown):
    cell = dict(cell_type='code', source=f'{line}\nx = 1'.strip(),
                outputs=[dict(output_type='stream', name='stdout', text='out')])
    md = preview.code(cell, 'html', None, pytest.fail)
    assert ('x = 1' in md) is shown
    assert ('out' in md) is ('include' not in line)
