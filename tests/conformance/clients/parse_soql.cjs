// One JSON array of queries on standard input; one JSON array of true and false on standard output.
const { readFileSync } = require("node:fs");
const { isQueryValid } = require("@jetstreamapp/soql-parser-js");

const queries = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(queries.map((query) => isQueryValid(query))));
