"""The text of a starter configuration (Jinja; ``yaml`` writes a value so that YAML reads the same)."""

from __future__ import annotations

# The default model, for any data: that of configs/movielens-100k.yaml without the columns (a test compares them).
MODEL = """\
model:
  dim: 192                  # width of the embeddings
  normalize: true           # vectors of length 1 ...
  temperature: 0.2          # ... so that the softmax needs sharper scores
  linear: {rank: 192}       # beside them: which items go together, solved and not trained
  query:                    # the tower of the users
    features:
      # A user is what they did: the sum of embeddings of the items. In training a random part of it is hidden, and has
      # to win against all other items.
      - {kind: history, length: 1000, dim: 192, train_on: others, dropout: 0.25}
{query_features}
    combine: sum
    projection: false
  candidate:                # the tower of the items
    features:
      - {kind: id, dim: 192}
{candidate_features}
    combine: sum
    projection: false
  training:
    optimizer: adam
    learning_rate: 0.003
    schedule: cosine        # it falls to zero until the last epoch
    batch_size: 1024        # users in a step
    epochs: 20              # at most: it stops when what was held out is not found any better
    min_steps: 300          # a small dataset is gone through more often
    final_temperature: auto # with many items the temperature falls on the way
    heldout: {split: random, share: 0.1}
    early_stopping: {patience: 5, every_steps: 50, metric: ndcg_at_10}
"""

TEMPLATE = """\
# A configuration for recbatch, written by `recbatch init` after a look at
{% for sample in samples %}
#   {{ sample.described() | line }}
{% endfor %}
# This is YAML: a # begins a comment, and the indentation counts. docs/configuration.md explains every key.
# CHECK marks a guess that needs your eyes. Save it, as my.yaml say; then
#   recbatch config my.yaml
#       checks it and prints every setting, and
#   recbatch nightly my.yaml --output output --ds {{ day }}
#       makes the tables as of the end of that day{{ "" if roles.time else " (no times here: any date)" }}.

inputs:
  interactions:
    path: {{ interactions.path | yaml }}
    columns:              # which column holds what
      user_id: {{ roles.user.column | yaml }}  # {{ roles.user | reason }}
      item_id: {{ roles.item.column | yaml }}  # {{ roles.item | reason }}
{% if roles.time %}
      timestamp: {{ roles.time.choice.column | yaml }}  # {{ roles.time.choice | reason }}
{% else %}
      # timestamp:        # none found: features of time switch themselves off, the newest events are not known
{% endif %}
{% if roles.weight and weight_problem %}
      # weight: {{ roles.weight.column | yaml }}  # {{ weight_problem }}
{% elif roles.weight %}
      weight: {{ roles.weight.column | yaml }}  # {{ roles.weight | reason }}
{% endif %}
{% if roles.event %}
      event_type: {{ roles.event.column | yaml }}  # {{ roles.event | reason }}
{% endif %}
{% if roles.time and roles.time.unit %}
    timestamp_unit: {{ roles.time.unit }}  # {{ unit_reason }}
{% endif %}
{% for remark in roles.remarks %}
    # CHECK: {{ remark | line }}
{% endfor %}
{% if context %}
    # Other columns of an event may tell something about the user then (a device, a country). To use one, name it here
    # and take the # away from its feature below:
    # context: [{{ context | map(attribute="column") | map("yaml") | join(", ") }}]
{% endif %}
{% for name, entity in entities.items() %}
{% if entity %}
  {{ name }}:
    path: {{ entity.sample.path | yaml }}
    id: {{ entity.id.column | yaml }}  # {{ entity.id | reason }}
{% if entity.label %}
    label: {{ entity.label | yaml }}  # a readable name, shown in previews
{% endif %}
{% else %}
  # {{ name }}:                # none given: the {{ name[:-1] }} ids seen in the interactions are the {{ name }}
  #   path: {{ name }}.parquet
  #   id: id
{% endif %}
{% endfor %}

time_zone: UTC            # where a day begins and ends; times without a zone are local times of it

# What trains the model. By default every event does.
positives:
{% if roles.weight %}
  # Only events with at least this {{ roles.weight.column | line }} ({{ weight_range }}):
  # min_weight: {{ weight_example }}
{% endif %}
{% if event_types %}
  # Only some of the event types {{ event_types | map("yaml") | join(", ") }}:
  # event_types: [{{ event_types[-1] | yaml }}]
{% endif %}
# What counts as seen, and is left out of the recommendations. By default every event does.
seen:
{% if event_types %}
  # event_types: [{{ event_types[-1] | yaml }}]
{% endif %}

# The default model. It needs ids only; features make it better, above all for items with few events.
{{ model }}
tables:                   # each may be switched off with enabled: false
  user2item: {k: 100}     # for every user the items to recommend, without those seen
  item2item: {k: 100}     # for every item the items like it
  user2user: {k: 100}     # for every user the users like them
  item2user: {k: 100}     # for every item the users to tell about it
"""
