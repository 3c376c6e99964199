'use strict';

/** The mean and the median of a list of numbers. */
function summary(numbers) {
  if (numbers.length === 0) throw new RangeError('no numbers');
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { count: numbers.length, mean: numbers.reduce((a, b) => a + b) / numbers.length, median };
}

module.exports = { summary };
