// Reads a picked picture and saves the enlargement.
package com.example.upscale

import android.content.ContentResolver
import android.content.ContentValues
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Matrix
import android.graphics.Paint
import android.media.ExifInterface
import android.net.Uri
import android.os.Build
import android.os.Environment
import android.provider.MediaStore
import java.io.IOException
import java.io.InputStream

/** What Android draws and a phone holds beside LR: a bitmap of 100 MB, at 4 bytes a pixel. */
private const val MOST_SR_PIXELS = 24_000_000L

/** Reads [uri] upright, opaque (white where it was transparent) and in sRGB. Throws [Fault]. */
fun readPicture(resolver: ContentResolver, uri: Uri, scale: Int): Bitmap {
    try {
        refuseLarge(resolver, uri, scale)
        val decoded = stream(resolver, uri).use { BitmapFactory.decodeStream(it) }
            ?: throw Fault("This file is no picture that Android can read; pick another one.")
        val exif = stream(resolver, uri).use(::ExifInterface)
        return upright(decoded, exif.getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL))
    } catch (error: IOException) {
        throw Fault("The picture can't be read (${error.message}); pick another one.", error)
    }
}

private fun stream(resolver: ContentResolver, uri: Uri): InputStream =
    resolver.openInputStream(uri) ?: throw IOException("no content")

private fun refuseLarge(resolver: ContentResolver, uri: Uri, scale: Int) {
    val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    stream(resolver, uri).use { BitmapFactory.decodeStream(it, null, bounds) }
    val pixels = bounds.outWidth.toLong() * bounds.outHeight
    val most = MOST_SR_PIXELS / (scale * scale)
    if (pixels > most) {
        throw Fault("A picture may have %.1f megapixels at ×%d, this has %.1f; crop or shrink it first."
            .format(most / 1e6, scale, pixels / 1e6))
    }
}

private fun upright(bitmap: Bitmap, orientation: Int): Bitmap {
    val turned = orientation in ExifInterface.ORIENTATION_TRANSPOSE..ExifInterface.ORIENTATION_ROTATE_270
    val (width, height) = if (turned) bitmap.height to bitmap.width else bitmap.width to bitmap.height
    // A new bitmap is in sRGB, and drawing converts the camera's wider colours into it.
    val result = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
    val matrix = turn(orientation).apply {
        preTranslate(-bitmap.width / 2f, -bitmap.height / 2f)
        postTranslate(width / 2f, height / 2f)
    }
    Canvas(result).apply {
        drawColor(Color.WHITE)
        drawBitmap(bitmap, matrix, Paint())
    }
    bitmap.recycle()
    return result
}

private fun turn(orientation: Int): Matrix = Matrix().apply {
    when (orientation) {
        ExifInterface.ORIENTATION_FLIP_HORIZONTAL, ExifInterface.ORIENTATION_TRANSPOSE,
        ExifInterface.ORIENTATION_TRANSVERSE -> postScale(-1f, 1f)
        ExifInterface.ORIENTATION_FLIP_VERTICAL -> postScale(1f, -1f)
    }
    when (orientation) {
        ExifInterface.ORIENTATION_ROTATE_90, ExifInterface.ORIENTATION_TRANSVERSE -> postRotate(90f)
        ExifInterface.ORIENTATION_ROTATE_180 -> postRotate(180f)
        ExifInterface.ORIENTATION_ROTATE_270, ExifInterface.ORIENTATION_TRANSPOSE -> postRotate(270f)
    }
}

/** Saves [picture] as a PNG named [name] into the gallery, the whole of it or nothing. Throws [Fault]. */
fun savePicture(resolver: ContentResolver, picture: Bitmap, name: String) {
    val hides = Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q
    val values = ContentValues().apply {
        put(MediaStore.MediaColumns.DISPLAY_NAME, name)
        put(MediaStore.MediaColumns.MIME_TYPE, "image/png")
        if (hides) {
            put(MediaStore.MediaColumns.RELATIVE_PATH, Environment.DIRECTORY_PICTURES + "/Upscale")
            put(MediaStore.MediaColumns.IS_PENDING, 1)
        }
    }
    var uri: Uri? = null
    try {
        uri = resolver.insert(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, values) ?: throw IOException("no place")
        val written = resolver.openOutputStream(uri)?.use { picture.compress(Bitmap.CompressFormat.PNG, 100, it) }
        if (written != true) throw IOException("not written")
        if (hides) {
            resolver.update(uri, ContentValues().apply { put(MediaStore.MediaColumns.IS_PENDING, 0) }, null, null)
        }
    } catch (error: IOException) {
        uri?.let { resolver.delete(it, null, null) }
        throw Fault("The picture can't be saved (${error.message}); is there space left?", error)
    }
}
