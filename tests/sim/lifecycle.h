/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Devices and the set of a simulated world come and go while it runs: stopped and registered again, run without their cache, forgotten, taken back.
 *
 * One client at a time has such an *episode*. For as long as it lasts the devices it concerns are *away*: the others begin nothing there, and what they
 * have begun may fail. What the model is told:
 *
 *   stop, unregister   nothing: all data is there afterwards.
 *   force-run          what the index held dirty when the device left (captured, by sector) may be anything that was once written there; every other
 *                      sector is what the model says. Then all of it is what lies on the backing device, and nothing else, ever: neither dirty nor clean
 *                      data of the old slot comes back with an attach.
 *   readopt            the captured sectors are what the cache had of them, byte for byte; all others are unchanged.
 *   forget             nothing; of a device that says DIRTY it is followed by a force-run.
 *
 * Between the order and its acknowledgement a power cut leaves either. What came of it is decided by what the disks say:
 *
 *   FORCING ─────cut──> STALE on the backing device: it was run; else it was not, and must not have been acknowledged
 *   FORGETTING ──cut, start──> it runs with its slot: not forgotten (nor acknowledged); else it waits, and is forced now
 *   READOPTING ──cut, start──> it is in the old slot: taken back; it is elsewhere: not; it waits: the order is given again, and succeeds
 *
 * Until that is decided nobody reads the device.
 */
#include <stdbool.h>
#include <stdint.h>

struct bdev;
struct lifecycle;
struct prng;
struct world;

#define LIFECYCLE_VOLUMES 2u /* in place of a backing device: the volumes' keeper; away when the set is */

/* What an episode asks of the client that has it. */
struct lifecycle_hands {
	void *client;
	void (*io)(void *client, unsigned dev);	    /* some request */
	void (*configure)(void *client, int dev);  /* one that was registered anew; -1: the set */
};

/* gen: the last that was written. */
struct lifecycle *lifecycle_new(struct world *w, const uint32_t *gen);
void lifecycle_free(struct lifecycle *l);
/* Each of these may be given NULL: a world without. */
bool lifecycle_enter(struct lifecycle *l, unsigned dev);   /* somebody begins something; false: it is away */
void lifecycle_leave(struct lifecycle *l, unsigned dev);
bool lifecycle_away(const struct lifecycle *l, unsigned dev);
bool lifecycle_undecided(const struct lifecycle *l, unsigned dev);
bool lifecycle_over(const struct lifecycle *l);		    /* this boot is to end, with the set away */

/* A boot begins; the devices are registered, and not all are attached yet; the disks have lost what a cut takes. */
void lifecycle_boots(struct lifecycle *l);
void lifecycle_registered(struct lifecycle *l);
void lifecycle_crashed(struct lifecycle *l);
/* Something happens on a disk. */
void lifecycle_event(struct lifecycle *l);
/* An episode of dev, or of the set; the caller has entered nothing. */
void lifecycle_step(struct lifecycle *l, unsigned dev, struct prng *r, const struct lifecycle_hands *hands);
