/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* A harness is one function, called by libFuzzer or by the plain runner (replay.c). 0, or -1: not worth keeping. */
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
