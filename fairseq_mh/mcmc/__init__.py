"""The sampler: masked language models as energy-based models, and Metropolis-Hastings on them.

Pure torch; nothing here knows fairseq. Equations are those of Goyal, Dyer and Berg-Kirkpatrick,
"Exposing the Implicit Energy Networks behind Masked Language Models via Metropolis-Hastings" (ICLR 2022).

Shapes: N chains, T positions (padded to the longest), V vocabulary, D features, E energies,
M rows of a query, P masked positions of a query. Energies and log-probabilities are in nats.
"""
