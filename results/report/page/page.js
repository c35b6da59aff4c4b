(function () {
  'use strict';
  var root = document.documentElement;
  var darkQuery = window.matchMedia('(prefers-color-scheme: dark)');
  var printing = false;
  var charts = {}; // by id

  function isDark() {
    if (printing) return false;
    var set = root.getAttribute('data-theme');
    return set ? set === 'dark' : darkQuery.matches;
  }

  // The table: a button in each heading sorts by it. Withheld cells stay last.
  function sortable(table) {
    var body = table.tBodies[0];
    var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
    var original = Array.prototype.slice.call(body.rows);
    heads.forEach(function (head, column) {
      var button = document.createElement('button');
      button.type = 'button';
      while (head.firstChild && head.firstChild.nodeName !== 'SMALL') button.appendChild(head.firstChild);
      head.insertBefore(button, head.firstChild);
      button.addEventListener('click', function () {
        var now = head.getAttribute('aria-sort');
        var next = now === 'ascending' ? 'descending' : now === 'descending' ? '' : 'ascending';
        heads.forEach(function (h) { h.removeAttribute('aria-sort'); });
        if (next) head.setAttribute('aria-sort', next);
        order(body, original, column, next, head.getAttribute('data-kind') === 'text');
      });
    });
  }

  function order(body, original, column, direction, isText) {
    var rows = original.slice();
    if (direction) {
      var sign = direction === 'ascending' ? 1 : -1;
      rows.sort(function (a, b) {
        var x = a.cells[column].getAttribute('data-sort'), y = b.cells[column].getAttribute('data-sort');
        if (x === '' || y === '') return (x === '') - (y === '');
        if (isText) return sign * (x < y ? -1 : x > y ? 1 : 0);
        return sign * (parseFloat(x) - parseFloat(y));
      });
    }
    rows.forEach(function (r) { body.appendChild(r); });
  }

  // What options name as "__fn:…". Nothing in an option is run.
  function escape(text) {
    return String(text).replace(/[&<>"']/g, function (c) { return '&#' + c.charCodeAt(0) + ';'; });
  }
  function last(value) { return value[value.length - 1]; }
  var functions = {
    // The last entry of a datum's value is its tooltip: a name, then lines.
    tip: function (p) {
      var lines = String(last(p.value)).split('\n').map(escape);
      lines[0] = '<b>' + lines[0] + '</b>';
      return lines.join('<br>');
    },
    power: function (x) { return axisNumber(Math.pow(10, x)); },
    plain: function (x) { return axisNumber(x); },
    size: function (x) {
      if (x >= 1e9) return axisNumber(x / 1e9) + ' GB';
      if (x >= 1e6) return axisNumber(x / 1e6) + ' MB';
      return axisNumber(x) + ' B';
    },
    whiskerX: function (params, api) { return whisker(api, true); },
    whiskerY: function (params, api) { return whisker(api, false); }
  };
  function axisNumber(x) {
    if (x === 0) return '0';
    return String(parseFloat(x.toPrecision(4)));
  }
  // An interval [place, lo, hi] as a bar with caps, along x or along y. An end
  // that the axis doesn't reach has no cap.
  function whisker(api, along) {
    var place = api.value(0), lo = api.value(1), hi = api.value(2), cut = api.value(3);
    var a = along ? api.coord([lo, place]) : api.coord([place, lo]);
    var b = along ? api.coord([hi, place]) : api.coord([place, hi]);
    var d = 4, lines = [];
    function line(x1, y1, x2, y2) {
      lines.push({ type: 'line', shape: { x1: x1, y1: y1, x2: x2, y2: y2 }, style: { stroke: api.visual('color'), lineWidth: 1.5, opacity: 0.75 } });
    }
    line(a[0], a[1], b[0], b[1]);
    if (along) {
      if (!cut) line(a[0], a[1] - d, a[0], a[1] + d);
      line(b[0], b[1] - d, b[0], b[1] + d);
    } else {
      if (!cut) line(a[0] - d, a[1], a[0] + d, a[1]);
      line(b[0] - d, b[1], b[0] + d, b[1]);
    }
    return { type: 'group', children: lines };
  }

  var named = { formatter: 1, renderItem: 1 };
  function resolve(node, colors) {
    if (Array.isArray(node)) return node.map(function (n) { return resolve(n, colors); });
    if (node === null || typeof node !== 'object') return node;
    var out = {};
    Object.keys(node).forEach(function (key) {
      var v = node[key];
      if (named[key] && typeof v === 'string' && v.indexOf('__fn:') === 0) v = functions[v.slice(5)];
      else if (typeof v === 'string' && colors.hasOwnProperty(v) && /olor$/.test(key)) v = colors[v];
      else v = resolve(v, colors);
      out[key] = v;
    });
    return out;
  }

  // Colours that follow the theme, named in options as "--text" and so on.
  function themeColors() {
    var style = getComputedStyle(root), out = {};
    ['--text', '--soft', '--line', '--card', '--accent', '--stripe'].forEach(function (n) { out[n] = style.getPropertyValue(n).trim(); });
    if (printing) { out['--text'] = '#000'; out['--soft'] = '#444'; out['--line'] = '#bbb'; out['--card'] = '#fff'; out['--accent'] = '#000'; }
    return out;
  }

  function draw(box) {
    var id = box.getAttribute('data-chart');
    var option = resolve(JSON.parse(document.getElementById('option-' + id).textContent), themeColors());
    if (box.clientWidth < 480) narrow(option);
    if (charts[id]) charts[id].dispose();
    charts[id] = echarts.init(box, isDark() ? 'dark' : null, { renderer: 'svg' });
    charts[id].setOption(option);
  }

  // On a phone, points keep their tooltips and lose their labels, a value axis
  // has every other label or fewer, and categories along x are slanted.
  function narrow(option) {
    option.series.forEach(function (s) {
      if (s.type === 'scatter' && s.label) s.label.show = false;
      if (s.type === 'heatmap' && s.label) s.label.fontSize = 10;
    });
    option.xAxis.forEach(function (a) {
      var label = a.axisLabel || {};
      if (label.customValues) {
        var step = Math.ceil(label.customValues.length / 4);
        label.customValues = label.customValues.filter(function (_, i) { return i % step === 0; });
      }
      if (a.type === 'category' && a.data.length > 3 && a.position === 'top') {
        label.rotate = 40;
        option.grid[0].top = 56;
      }
    });
    option.grid.forEach(function (g) {
      if (g.left === '106') g.left = 100;
      if (g.right === '28') g.right = 20;
    });
  }

  function drawAll() {
    Array.prototype.forEach.call(document.querySelectorAll('[data-chart]'), draw);
  }

  function themeButton() {
    var button = document.getElementById('theme');
    function label() {
      button.textContent = isDark() ? 'Light' : 'Dark';
      button.setAttribute('aria-label', 'Switch to ' + (isDark() ? 'light' : 'dark') + ' colours');
    }
    button.hidden = false;
    label();
    button.addEventListener('click', function () {
      root.setAttribute('data-theme', isDark() ? 'light' : 'dark');
      label();
      drawAll();
    });
    darkQuery.addEventListener('change', function () { label(); drawAll(); });
  }

  sortable(document.getElementById('variants'));
  themeButton();
  drawAll();
  var width = window.innerWidth, timer;
  window.addEventListener('resize', function () {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAll, 100);
  });
  window.addEventListener('beforeprint', function () { printing = true; drawAll(); });
  window.addEventListener('afterprint', function () { printing = false; drawAll(); });
})();
