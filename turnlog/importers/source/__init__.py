"""Reading what nobody vouches for: files, JSON, arrays, fields, times; bounded, and told of when wrong."""
