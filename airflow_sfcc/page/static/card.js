// The card on Airflow's dashboard: each org's sentence. Airflow loads this module and renders the function with its own React.
"use strict";

const summary = new URL("../summary", import.meta.url);

globalThis.AirflowPlugin = function SalesforceCard() {
  const { createElement: element, useEffect, useState } = globalThis.React;
  const [found, setFound] = useState({ orgs: [] });
  useEffect(() => {
    fetch(summary)
      .then(response => { if (!response.ok) throw new Error(`Airflow answered ${response.status}`); return response.json(); })
      .then(setFound)
      .catch(problem => setFound({ orgs: [], problem: problem.message }));
  }, []);
  if (!found.orgs.length) return null; // nothing has landed, or the reader may not see it: the dashboard stays as it is
  const colours = { good: "#1b7a36", look: "#5f3dc4", wait: "#0b5cad", bad: "#b3261e" };
  const lines = found.orgs.map(org => element(
    "a",
    {
      key: org.org,
      href: new URL("plugin/salesforce", document.baseURI).href,
      style: { display: "block", padding: "6px 12px", borderLeft: `4px solid ${colours[org.verdict] || "#777777"}`, marginTop: 6 },
    },
    element("strong", null, org.sentence), " ", element("span", { style: { opacity: 0.7 } }, org.org),
  ));
  return element("section", { "aria-label": "Salesforce", style: { margin: "12px 0" } }, element("h2", null, "Salesforce"), ...lines);
};
