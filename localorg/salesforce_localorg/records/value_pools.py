"""Ordinary values, so that the generated records look like somebody's customers."""

from __future__ import annotations

FIRST_NAMES = (
    "Ada Amir Anna Ben Carla Chen Chloé Daniel Dimitri Elena Emma Farid Fatima Grace Hana Henrik Ines Ivan Jana Javier João "
    "Kenji Lara Liam Lucía Magnus María Mei Nadia Noah Olga Omar Priya Quentin Rahul Rosa Søren Sofia Tariq Tomás Uma Viktor "
    "Wei Yara Yusuf Zoë Łukasz Øystein"
).split()

LAST_NAMES = (
    "Adeyemi Andersson Becker Brown Chen Costa Dubois Eriksen Fernández Fischer García Gupta Haddad Hansen Ito Ivanova "
    "Jensen Johnson Kim Kowalski Kumar Lefèvre Lindqvist Lopez Martin Meyer Müller Nakamura Nguyen Novák O'Brien Okafor "
    "Olsen Park Patel Pereira Petrov Rossi Sánchez Santos Schmidt Sharma Silva Smith Suzuki Tanaka Taylor Tran Virtanen "
    "Wang Weber Williams Wójcik Yamamoto Yılmaz Zhang"
).split()

COMPANY_STEMS = (
    "Acme Alpine Amber Apex Arbor Atlas Aurora Baltic Beacon Birch Blue Bridge Cedar Cobalt Copper Coral Crescent Delta Dune "
    "Eagle Echo Ember Falcon Fjord Forge Garnet Granite Harbor Helix Horizon Indigo Iris Juniper Keystone Lumen Maple "
    "Meridian Mosaic Nimbus Nordic Oak Onyx Orchid Pacific Pine Polar Quartz Raven River Saffron Sierra Silver Solar Summit "
    "Tidal Union Vertex Willow Zenith"
).split()
COMPANY_TRADES = (
    "Analytics Bakery Biotech Capital Chemicals Components Construction Dynamics Electric Energy Engineering Farms Foods "
    "Freight Health Hotels Industries Instruments Insurance Labs Logistics Marine Media Metals Motors Optics Packaging "
    "Partners Pharma Plastics Retail Robotics Software Steel Systems Telecom Textiles Tools Travel Water"
).split()
COMPANY_FORMS = ("Inc.", "LLC", "GmbH", "Ltd", "S.A.", "AG", "Pty", "KK")

# city, state, postal code, country, latitude, longitude
CITIES: tuple[tuple[str, str, str, str, float, float], ...] = (
    ("San Francisco", "CA", "94105", "United States", 37.789, -122.394),
    ("New York", "NY", "10011", "United States", 40.742, -74.0),
    ("Chicago", "IL", "60607", "United States", 41.872, -87.657),
    ("Austin", "TX", "78701", "United States", 30.271, -97.742),
    ("Burlington", "VT", "05401", "United States", 44.478, -73.213),
    ("Toronto", "ON", "M5H 2N2", "Canada", 43.651, -79.384),
    ("London", "England", "EC2A 4NE", "United Kingdom", 51.524, -0.083),
    ("Paris", "Île-de-France", "75009", "France", 48.875, 2.337),
    ("München", "Bayern", "80331", "Germany", 48.137, 11.575),
    ("Berlin", "Berlin", "10115", "Germany", 52.532, 13.385),
    ("Zürich", "ZH", "8001", "Switzerland", 47.371, 8.542),
    ("Madrid", "Madrid", "28013", "Spain", 40.419, -3.705),
    ("Milano", "MI", "20121", "Italy", 45.471, 9.189),
    ("Kraków", "Małopolskie", "31-041", "Poland", 50.061, 19.938),
    ("Stockholm", "Stockholm", "111 20", "Sweden", 59.331, 18.06),
    ("São Paulo", "SP", "01310-100", "Brazil", -23.564, -46.652),
    ("Ciudad de México", "CDMX", "06600", "Mexico", 19.427, -99.168),
    ("Mumbai", "MH", "400001", "India", 18.939, 72.835),
    ("Singapore", "Singapore", "048616", "Singapore", 1.284, 103.851),
    ("東京", "東京都", "100-0005", "Japan", 35.681, 139.767),
    ("Seoul", "Seoul", "04524", "South Korea", 37.566, 126.978),
    ("Sydney", "NSW", "2000", "Australia", -33.869, 151.209),
    ("Auckland", "Auckland", "1010", "New Zealand", -36.848, 174.763),
    ("Cape Town", "Western Cape", "8001", "South Africa", -33.925, 18.424),
)

STREETS = (
    "Market Street;Main Street;High Street;Station Road;Church Lane;Mill Road;Park Avenue;Broadway;Lindenstraße;Hauptstraße;"
    "Rue de la Paix;Avenida Paulista;Calle Mayor;Via Roma;Kungsgatan;Harbour Drive;Industrial Way;Commerce Boulevard"
).split(";")

TITLES = (
    "CEO;CFO;CTO;VP Sales;VP Marketing;Director of Operations;Head of Procurement;IT Manager;Office Manager;Buyer;Engineer;"
    "Account Executive;Analyst;Consultant;Controller;Warehouse Lead"
).split(";")
DEPARTMENTS = "Sales Marketing Finance Engineering Procurement Operations Legal Support HR Logistics".split()

SUBJECTS = (
    "Shipment arrived damaged;Cannot log in;Invoice shows the wrong amount;Request for a quote;Question about the contract;"
    "Device overheats;Feature request: export;Renewal call;Site visit;Delivery is late;Training for new staff;Return of goods;"
    "Price list outdated;Integration stopped;Thank you!"
).split(";")
SENTENCES = (
    "Called the customer and left a message.;They want the offer before the end of the quarter.;Budget is approved.;"
    "Waiting for legal to sign.;Decision maker is on holiday until Monday.;Competitor offers a 12% discount.;"
    "Needs delivery to two sites, north & south.;Prefers e-mail, please don't phone.;Asked for references in the region.;"
    "Contract ends next year; renewal is likely.;Follow up in two weeks.;Très satisfait de notre service.;"
    "Die Lieferung kam pünktlich an.;Se necesita una factura corregida.;Paid by bank transfer."
).split(";")
WORDS = (
    "alpha amber basic bravo cargo delta early echo extra final gamma green harbor inner later major minor north omega outer "
    "phase prime quick rapid remote senior short south spare sprint standard stock trial urgent vendor west yearly zone"
).split()
