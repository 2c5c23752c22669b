#!/usr/bin/env python
"""The docs without Quarto: `python tools/preview.py` renders every page into _docs/ with pandoc, `--readme` writes
README.md.

It starts where Quarto would: at the notebooks that nbdev-proc-nbs leaves in _proc, and at _quarto.yml. It knows the
few things that these pages use (cell directives, stored outputs, numbered equations, links,
the sidebar) and complains about what it does not know, so a page that passes here holds nothing that Quarto would
pass over in silence. Exit status 1 where there was a complaint."""
import argparse, base64, html, json, os, posixpath, re, shutil, subprocess, sys, tempfile
from multiprocessing.pool import ThreadPool
from pathlib import Path
import pypandoc, yaml

ROOT = Path(__file__).resolve().parent.parent
FOOT = "A preview made with pandoc, not Quarto's output."
HONOURED = {'echo', 'output', 'include', 'eval', 'warning', 'code-fold', 'code-summary', 'fig-cap', 'fig-alt',
            'exports', 'slow', 'cuda'}
PREFER = dict(html=['text/html', 'text/markdown', 'image/svg+xml', 'image/png', 'image/jpeg',
                    'text/latex', 'text/plain'],
              gfm=['image/png', 'image/jpeg', 'image/svg+xml', 'text/markdown', 'text/latex', 'text/plain'])
SUFFIX = {'image/png': 'png', 'image/jpeg': 'jpg', 'image/svg+xml': 'svg'}

# ---- what nbdev makes

# One process: every worker would import all of mrtl. It ends at once: IPython keeps a shell for every page, and each
# would look for garbage among all objects, which takes longer than the pages do
PROCESS = 'import gc,os; gc.disable(); from nbdev.quarto import nbdev_proc_nbs as p; p(n_workers=0); os._exit(0)'

def process(root):
    "Run nbdev-proc-nbs in `root`. The stub `quarto` is never called; without one on PATH nbdev tries to install it."
    with tempfile.TemporaryDirectory() as d:
        stub = Path(d)/'quarto'
        stub.write_text('#!/bin/sh\nexit 1\n'); stub.chmod(0o755)
        env = {k: v for k,v in os.environ.items() if k != 'IN_TEST'}
        env |= dict(PATH=os.pathsep.join([d, str(Path(sys.executable).parent), env['PATH']]), PYTHONPATH=str(root))
        run = subprocess.run([sys.executable, '-c', PROCESS], cwd=root, env=env, capture_output=True, text=True)
    if run.returncode: raise RuntimeError(f'nbdev-proc-nbs failed:\n{(run.stdout+run.stderr)[-2000:]}')

def load(root):
    "All pages in `_proc`, by path: title, description, the page they become, cells."
    pages = {}
    for f in sorted(f for f in (root/'_proc').rglob('*') if f.suffix in ('.ipynb', '.qmd')):
        path = f.relative_to(root/'_proc').as_posix()
        text = f.read_text(encoding='utf-8')
        if f.suffix == '.qmd':
            cells = [dict(cell_type=k, source=s) for k,s in zip(('raw', 'markdown'), text.split('---\n', 2)[1:])]
        else: cells = [dict(c, source=''.join(c['source'])) for c in json.loads(text)['cells']]
        front = (yaml.safe_load(cells.pop(0)['source'].strip().strip('-')) if cells
                 and cells[0]['cell_type'] == 'raw' else {})
        out = posixpath.join(posixpath.dirname(path), front.get('output-file') or f.with_suffix('.html').name)
        about = dict(title=front.get('title') or f.stem, description=front.get('description', ''),
                     toc=front.get('toc', True))
        pages[path] = dict(about, path=path, html=out, cells=cells)
    return pages

# ---- cells to markdown

def fence(text, attrs=''):
    "A fenced block that `text` cannot break out of."
    ticks = '`'*max(3, 1+max(map(len, re.findall('`+', text)), default=0))
    return f'{ticks}{attrs}\n{text.rstrip()}\n{ticks}'

def directives(source):
    "The `#|` lines at the top of a cell, and the rest."
    lines,opts = source.splitlines(),{}
    while lines and lines[0].startswith('#|'):
        key,_,value = lines.pop(0)[2:].partition(':')
        opts[key.strip()] = value.strip().strip('"\'')
    return opts,'\n'.join(lines)

def prose(text, to, numbers, complain):
    "A markdown cell with `$$...$$ {#eq-x}` numbered and `@eq-x` resolved; code is left alone."
    def label(m):
        numbered = f'{m[1]} \\qquad({numbers[m[2]]})$$'
        return f'[{numbered}]{{#{m[2]}}}' if to == 'html' else numbered
    def refer(m):
        if m[2] not in numbers: return complain(f'@{m[2]} refers to no equation of this page') or m[0]
        words = f"{'' if m[1] else 'Equation '}{numbers[m[2]]}"
        return f'[{words}](#{m[2]})' if to == 'html' else words
    parts = re.split(r'(^```.*?^```|`[^`\n]+`)', text, flags=re.S|re.M)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r'\[?(-?)@(eq-[\w-]+)\]?', refer, EQUATION.sub(label, parts[i]))
    return ''.join(parts)

EQUATION = re.compile(r'(\$\$(?:(?!\$\$).)+)\$\$\s*\{#(eq-[\w-]+)\}', re.S)

def output(out, opts, to, save, complain):
    "One stored output as markdown."
    if out['output_type'] == 'error': return complain(f"a cell failed: {out['ename']}: {out['evalue']}")
    if out['output_type'] == 'stream': mime,data = 'text/plain',''.join(out['text'])
    elif not out['data']: return ''
    else:
        mime = next((m for m in PREFER[to] if m in out['data']), None)
        if mime is None: return complain(f"no way to show an output of kind {', '.join(out['data'])}")
        data = ''.join(out['data'][mime])
    if mime in SUFFIX:
        url = save(SUFFIX[mime], data.encode() if mime == 'image/svg+xml' else base64.b64decode(data))
        cap,alt = opts.get('fig-cap', ''),opts.get('fig-alt') or opts.get('fig-cap', '')
        if to == 'gfm': return f'![{alt}]({url})\n\n{cap}'
        return fence(f'<figure><img src="{url}" alt="{html.escape(alt)}">{f"<figcaption>{html.escape(cap)}</figcaption>" if cap else ""}</figure>', '{=html}')
    if mime == 'text/html': return fence(data, '{=html}')
    if mime != 'text/plain' or opts.get('output') == 'asis': return data
    return f':::: {{.output}}\n{fence(data)}\n::::' if to == 'html' else fence(data)

def code(cell, to, save, complain):
    "A code cell, as far as its directives let it show, with its outputs."
    opts,source = directives(cell['source'])
    for key in opts.keys() - HONOURED: complain(f'unknown directive #| {key}; to hide code, write #| echo: false')
    if opts.get('include') == 'false': return ''
    md = []
    if opts.get('echo') != 'false' and source.strip():
        md.append(fence(source, '{.python}'))
        if 'code-fold' in opts and to == 'html':
            state,summary = ('open' if opts['code-fold'] == 'show' else ''),opts.get('code-summary', 'Code')
            md = [fence(f'<details {state}><summary>{summary}</summary>', '{=html}'), *md,
                  fence('</details>', '{=html}')]
    if opts.get('output') != 'false':
        outs = [o for o in cell.get('outputs', []) if not (opts.get('warning') == 'false'
                and o.get('name') == 'stderr')]
        md += [output(o, opts, to, save, complain) or '' for o in outs]
    return '\n\n'.join(md)

def markdown(page, to, folder, complain):
    "The whole page as pandoc's markdown, and its images by the name that the markdown gives them."
    images = {}
    def save(suffix, data):
        name = f'{folder}/figure-{len(images)+1}.{suffix}'
        images[name] = data
        return name
    texts = [c['source'] for c in page['cells'] if c['cell_type'] == 'markdown']
    numbers = {name: i for i,(_,name) in enumerate((m for t in texts for m in EQUATION.findall(t)), 1)}
    kinds = dict(markdown=lambda c: prose(c['source'], to, numbers, complain),
                 code=lambda c: code(c, to, save, complain), raw=lambda c: '')
    return '\n\n'.join(kinds[c['cell_type']](c)
                       for c in page['cells'] if 'WARNING: THIS FILE WAS AUTOGENERATED' not in c['source']),images

def pandoc(text, to, complain, *args):
    "Convert; whatever pandoc says is a complaint (as with --fail-if-warnings)."
    run = subprocess.run([pypandoc.get_pandoc_path(), '-f', 'markdown', '-t', to, '--fail-if-warnings', *args],
                         input=text, capture_output=True, encoding='utf-8')
    if run.stderr.strip() or run.returncode: complain(run.stderr.strip() or f'pandoc ended with {run.returncode}')
    return run.stdout

# ---- links

def target(url, page, pages, site):
    "The page and fragment that a link leads to; (None, '') for a link to something else."
    if site.startswith('http') and url.startswith(site): url = '/'+url[len(site):].lstrip('/')
    path,_,fragment = url.partition('#')
    if not path or re.match(r'[a-z]+:|//', url): return None,''
    path = path[1:] if path.startswith('/') else posixpath.normpath(posixpath.join(posixpath.dirname(page['path']),
            path))
    return next((p for p in pages.values() if path in (p['path'], p['html'])), None),fragment

def relink(text, page, pages, site):
    "Links to notebooks and to the site's own address become links to pages, relative to this one."
    def f(m):
        to,fragment = target(html.unescape(m[2]), page, pages, site)
        if to is None: return m[0]
        return f'{m[1]}="{posixpath.relpath(to["html"], posixpath.dirname(page["html"]) or ".")}{"#"+fragment if fragment else ""}"'
    return re.sub(r'\b(href)="([^"]*)"', f, text)

# ---- pages

CSS = (Path(__file__).parent/'preview.css').read_text(encoding='utf-8')
PAGE = """<!DOCTYPE html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} – {site}</title><style>{css}</style></head>
<body><header><a class="brand" href="/index.html">{site}</a>{top}<a class="pages" href="#pages">All</a></header>
<div class="columns"><main><h1>{title}</h1><p class="description">{description}</p>
{body}<div class="turn">{turn}</div></main><nav class="side" id="pages" aria-label="Pages">{side}</nav>{toc}</div><footer>{foot}</footer></body></html>
"""
TEMPLATE = '$toc$\n<!--cut-->\n$description$\n<!--cut-->\n$body$\n'

def menu(items, page, pages):
    """A list of links from _quarto.yml's `contents`, a section closed unless it holds the page; pages that are not
    written yet are left out."""
    def one(item):
        if isinstance(item, str): item = dict(href=item)
        if 'section' in item:
            inner = menu(item['contents'], page, pages)
            state = ' open' if 'class=here' in inner else ''
            return f"<li><details{state}><summary>{html.escape(item['section'])}</summary>{inner}</details></li>"
        to = pages.get(item['href'])
        if to is None: return ''
        return f"<li><a href=\"/{to['html']}\"{' class=here' if to is page else ''}>{html.escape(item.get('text') or to['title'])}</a></li>"
    return f"<ul>{''.join(map(one, items))}</ul>"

def order(items):
    "The pages of a sidebar from top to bottom."
    for item in items:
        if isinstance(item, str): yield item
        elif 'section' in item: yield from order(item['contents'])
        else: yield item['href']

def turn(page, pages, items):
    "Links to the pages before and after this one in the sidebar."
    row = [p for p in order(items) if p in pages]
    if page['path'] not in row: return ''
    i = row.index(page['path'])
    def link(path, way, text):
        words = text.format(html.escape(pages[path]['title']))
        return f'<a class="{way}" href="/{pages[path]["html"]}">{words}</a>'
    return (link(row[i-1], 'before', '← {}') if i else '<span></span>')+(link(row[i+1], 'after', '{} →')
            if i+1<len(row) else '')

def render(page, pages, config, site, template, complain):
    "One page as HTML, and its images."
    text,images = markdown(page, 'html', posixpath.splitext(posixpath.basename(page['html']))[0]+'_files', complain)
    # with the page, for pandoc takes longer to start than to work
    about = f"---\ndescription: {json.dumps(page['description'])}\n---\n\n"
    options = ['--mathml', '--standalone', '--toc', '--toc-depth=3', f'--template={template}',
               f"--metadata=pagetitle={page['title']}"]
    made = pandoc(about+text, 'html5', complain, *options)
    toc,description,body = made.split('<!--cut-->') if made.count('<!--cut-->') == 2 else ('', '', '')
    for cite in re.findall(r'data-cites="([^"]*)"', body): complain(f'unresolved reference @{cite}')
    web = config['website']
    side,foot = web['sidebar']['contents'],web['page-footer']
    toc = (f'<nav class="toc" aria-label="On this page"><b>On this page</b>{toc}</nav>' if '<li>' in toc
           and page['toc'] else '')
    top = re.sub('</?(ul|li)>', '', menu(web['navbar']['left'], page, pages))
    parts = dict(title=html.escape(page['title']), description=description.strip(), body=scrolling(body), toc=toc,
                 turn=turn(page, pages, side))
    foot = ''.join(f'<span>{s}</span>' for s in (foot['left'], FOOT, foot['right']))
    whole = PAGE.format(site=web['title'], lang=config['lang'], css=CSS+config['css'], top=top,
                        side=menu(side, page, pages), foot=foot, **parts)
    return relink(whole, page, pages, site),images

def scrolling(body):
    "Tables of markdown in a box that scrolls; boxes and code that scroll can be reached by keyboard."
    box = r'<div class="wide" tabindex="0" role="region" aria-label="Table">\g<0></div>'
    body = re.sub(r'<table(?: style="[^"]*")?>.*?</table>', box, body, flags=re.S)
    long = r'display="block"|<annotation[^>]*>[^<]{60}'
    body = re.sub(rf'<p>(?=(?:(?!</p>).)*?(?:{long}))', '<p tabindex="0">', body, flags=re.S)
    return re.sub(r'<pre(?! class="sourceCode)', '<pre tabindex="0"', body)

def settings(root):
    "What _quarto.yml says, and the address of the site as nbdev writes it."
    config = yaml.safe_load((root/'_proc'/'_quarto.yml').read_text(encoding='utf-8'))
    config['css'] = (root/'_proc'/config['format']['html']['css']).read_text(encoding='utf-8')
    return config,yaml.safe_load((root/'_proc'/'nbdev.yml').read_text(encoding='utf-8'))['website']['site-url']

def write(file, data):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)

def docs(root, dest):
    "Render all pages of `root` into the folder `dest`; the complaints, by notebook."
    process(root)
    pages,(config,site) = load(root),settings(root)
    shutil.rmtree(dest, ignore_errors=True)
    complaints = {p: [] for p in pages}
    with tempfile.TemporaryDirectory() as d:
        template = Path(d)/'page.html'
        template.write_text(TEMPLATE)
        def make(path):
            page = pages[path]; text,images = render(page, pages, config, site, template, complaints[path].append)
            write(dest/page['html'], text)
            for name,data in images.items(): write((dest/page['html']).parent/name, data)
        with ThreadPool() as pool: pool.map(make, pages)
    for f in (root/'_proc').rglob('*'):
        if f.suffix in ('.png', '.svg', '.jpg', '.css'): write(dest/f.relative_to(root/'_proc'), f.read_bytes())
    return complaints

def readme(root):
    "README.md from the index page: its text, its images, and the complaints."
    process(root)
    pages,(_,site) = load(root),settings(root)
    page,said = pages['index.ipynb'],[]
    text,images = markdown(page, 'gfm', 'index_files', said.append)
    head = (f"# {page['title']}\n\n<!-- Generated from nbs/index.ipynb by tools/preview.py. Edit the notebook. "
            f"-->\n\n{page['description']}\n\n")
    made = pandoc(head+text, 'gfm', said.append, '--wrap=preserve')
    def link(m):
        to,fragment = target(m[1], page, pages, site)
        return f"](nbs/{to['path']})" if to else m[0]
    return re.sub(r'\]\(([^)\s]+)\)', link, made),images,said

def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('--readme', action='store_true', help='write README.md instead of the pages')
    if args.parse_args().readme:
        text,images,said = readme(ROOT)
        shutil.rmtree(ROOT/'index_files', ignore_errors=True)
        for name,data in dict(images, **{'README.md': text}).items(): write(ROOT/name, data)
        complaints = {'index.ipynb': said}
    else: complaints = docs(ROOT, ROOT/'_docs')
    for path,said in complaints.items():
        for s in said: print(f'{path}: {s}', file=sys.stderr)
    print('wrote README.md' if 'index.ipynb' in complaints
          and len(complaints) == 1 else f'wrote {len(complaints)} pages into _docs')
    sys.exit(any(complaints.values()))

if __name__ == '__main__': main()
