'use strict';

const { name, version } = require('../package.json');
const { summary } = require('./statistics');

const { count, mean, median } = summary(process.argv.slice(2).map(Number));
console.log(`${name} ${version} (${process.env.NODE_ENV})`);
console.log(`count ${count}, mean ${mean.toFixed(2)}, median ${median}`);
