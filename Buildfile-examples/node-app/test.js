'use strict';

const assert = require('assert');
const { summary } = require('./src/statistics');

assert.deepStrictEqual(summary([3, 1, 2]), { count: 3, mean: 2, median: 2 });
assert.deepStrictEqual(summary([4, 1]), { count: 2, mean: 2.5, median: 2.5 });
assert.throws(() => summary([]), RangeError);
