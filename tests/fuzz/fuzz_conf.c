/* SPDX-License-Identifier: GPL-2.0-only */
/* The configuration file. Input: its text. On failure the configuration is as before and there is a reason. */
#include "tests/fuzz/fuzz.h"
#include "core/admin/config.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reason[600];
	struct printbuf why = PRINTBUF(reason);
	struct config c, before;
	char *text = malloc(size ? size : 1);

	memcpy(text, data, size);
	log_set_level(LOG_LEVEL_ERROR);
	config_init(&c);
	before = c;
	if (config_parse(&c, "f", text, size, &why) < 0)
		assert(!memcmp(&c, &before, sizeof(c)) && !strncmp(reason, "f:", 2) && !strchr(reason, '\n'));
	for (size_t i = 0; i < c.nr_devices; i++)
		assert(c.devices[i].path[0] == '/');
	config_normalise(&c);
	assert(c.cutoff_writeback <= c.cutoff_writeback_sync && c.cutoff_writeback <= 70 && c.cutoff_writeback_sync <= 90);
	config_release(&c);
	free(text);
	return 0;
}
