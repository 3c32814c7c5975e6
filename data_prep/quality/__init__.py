"""Small models that say how good a text is: trained on examples, reported on held-out ones, applied as steps.

H2O-Danube technical report, section 7: "small models (GBM and BERT) predicting the quality of respective input
samples".
"""
