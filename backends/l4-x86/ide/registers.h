/* SPDX-License-Identifier: MIT */
/*
 * The registers of a channel, their bits, and the commands that are used.
 */
#ifndef HMM_IDE_REGISTERS_H
#define HMM_IDE_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

/* From the command port on. */
#define IDE_DATA 0u
#define IDE_ERROR 1u /* read */
#define IDE_FEATURES 1u
#define IDE_COUNT 2u
#define IDE_LBA_LOW 3u
#define IDE_LBA_MID 4u
#define IDE_LBA_HIGH 5u
#define IDE_DEVICE 6u
#define IDE_STATUS 7u /* read: and the interrupt is taken back */
#define IDE_COMMAND 7u

#define IDE_STATUS_ERR 0x01u
#define IDE_STATUS_DRQ 0x08u
#define IDE_STATUS_DF 0x20u
#define IDE_STATUS_DRDY 0x40u
#define IDE_STATUS_BSY 0x80u

#define IDE_ERROR_NM 0x02u   /* no medium */
#define IDE_ERROR_ABRT 0x04u /* aborted */
#define IDE_ERROR_MCR 0x08u  /* somebody wants the medium out */
#define IDE_ERROR_IDNF 0x10u /* no such sector */
#define IDE_ERROR_MC 0x20u   /* the medium was changed */
#define IDE_ERROR_UNC 0x40u  /* cannot be read */
#define IDE_ERROR_WP 0x40u   /* the same of a write: protected */
#define IDE_ERROR_ICRC 0x80u /* went wrong on the cable */

#define IDE_DEVICE_BASE 0xa0u /* bits that old drives want */
#define IDE_DEVICE_LBA 0x40u
#define IDE_DEVICE_SLAVE 0x10u

#define IDE_CONTROL_NIEN 0x02u /* no interrupts */
#define IDE_CONTROL_SRST 0x04u

#define IDE_READ_SECTORS 0x20u
#define IDE_READ_SECTORS_EXT 0x24u
#define IDE_READ_DMA_EXT 0x25u
#define IDE_WRITE_SECTORS 0x30u
#define IDE_WRITE_SECTORS_EXT 0x34u
#define IDE_WRITE_DMA_EXT 0x35u
#define IDE_READ_DMA 0xc8u
#define IDE_WRITE_DMA 0xcau
#define IDE_FLUSH 0xe7u
#define IDE_FLUSH_EXT 0xeau
#define IDE_IDENTIFY 0xecu
#define IDE_SET_FEATURES 0xefu

#define IDE_FEATURE_MODE 0x03u /* set the transfer mode that is in COUNT */
#define IDE_MODE_MULTIWORD 0x20u

/* From the bus-master port on. */
#define IDE_MASTER_COMMAND 0u
#define IDE_MASTER_STATUS 2u
#define IDE_MASTER_TABLE 4u

#define IDE_MASTER_START 0x01u
#define IDE_MASTER_READ 0x08u /* from the disk: the bus master writes memory */
#define IDE_MASTER_ACTIVE 0x01u
#define IDE_MASTER_ERROR 0x02u     /* written as 1: cleared */
#define IDE_MASTER_INTERRUPT 0x04u /* the same */

#define IDE_ENTRY_SIZE 8u
#define IDE_ENTRY_LAST 0x80000000u

#endif /* HMM_IDE_REGISTERS_H */
