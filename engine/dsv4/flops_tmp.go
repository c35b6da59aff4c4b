package dsv4

func partFLOPs(c *Config, part, tokens int) int64 { return int64(tokens) }

func headFLOPs(c *Config) int64 { return 2 * int64(c.VocabSize*c.HiddenSize) }
