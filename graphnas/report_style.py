"""The head and the style sheet of the report: dark on light, for screens from phone width up, and for paper."""

from __future__ import annotations

# The policy forbids scripts and every request, whatever a hostile name might smuggle past the escaping.
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
"""

STYLE = """
*{box-sizing:border-box}
body{margin:0;background:#fff;color:#0f172a;font:15px/1.5 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 24px 48px}
h1{font-size:27px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:20px;margin:44px 0 10px;padding-top:16px;border-top:1px solid #e2e8f0;overflow-wrap:anywhere}
h3{font-size:15.5px;margin:26px 0 8px;overflow-wrap:anywhere}
p{margin:6px 0}
.lead,.note,figcaption{color:#475569}
.note,figcaption{font-size:13px}
table{border-collapse:collapse;width:100%;margin:14px 0;font-size:13.5px}
th,td{text-align:left;padding:7px 10px 7px 0;border-bottom:1px solid #e2e8f0;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600;color:#475569;font-size:12.5px;white-space:nowrap}
td.number{white-space:nowrap}
td.number small{white-space:normal}
.summary{font-size:13px}
.summary td{overflow-wrap:break-word}
.summary td.number{white-space:normal}
.summary td[data-label=time]{white-space:nowrap}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;padding-right:14px}
td b{font-weight:650}
small{color:#64748b;font-size:12px}
figure{margin:12px 0}
figure svg{display:block;width:100%;max-width:620px;height:auto}
.costs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:8px 24px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));gap:16px;margin:14px 0}
.card{border:1px solid #e2e8f0;border-radius:10px;padding:14px 16px;break-inside:avoid;min-width:0}
.card h4{margin:0;font-size:19px;font-variant-numeric:tabular-nums}
.card h4 span{color:#64748b;font-weight:500;font-size:13px;margin-right:6px}
.picture{overflow:auto;max-height:600px;margin:12px 0}
.picture svg{display:block;width:100%;height:auto;margin:0 auto}
.card dl{display:grid;grid-template-columns:minmax(64px,max-content) minmax(0,1fr);gap:1px 12px;
margin:8px 0 0;font-size:12.5px}
.card dt{color:#64748b}
.card dd{margin:0;overflow-wrap:anywhere}
pre{background:#f8fafc;border:1px solid #e2e8f0;border-radius:8px;
padding:10px 12px;margin:8px 0;font-size:12.5px;line-height:1.45;
white-space:pre-wrap;overflow-wrap:anywhere}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
@media (min-width:760px){.card.wide{grid-column:span 2}.card.widest{grid-column:1/-1}}
.empty{background:#fff7ed;border:1px solid #fed7aa;border-radius:8px;padding:10px 12px;color:#7c2d12}
footer{margin-top:44px;color:#64748b;font-size:12.5px}
@media (max-width:700px){
main{padding:20px 14px 32px}
.summary thead{display:none}
.summary tr{display:block;border:1px solid #e2e8f0;border-radius:10px;padding:8px 12px;margin:10px 0}
.summary td,.summary td.number{display:flex;justify-content:space-between;gap:16px;border:0;
padding:2px 0;text-align:right}
.summary td::before{content:attr(data-label);color:#64748b;text-align:left;white-space:nowrap}
.summary td:first-child{font-weight:600;text-align:left}
.summary td:first-child::before{content:none}
}
@media print{
main{max-width:none;padding:0}
body{font-size:11pt}
.picture{overflow:visible;max-height:none}
.picture svg{min-width:0!important}
figure,pre,tr{break-inside:avoid}
h2,h3{break-after:avoid}
}
""".strip()
