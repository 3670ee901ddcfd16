package com.example.upscale

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.RectF
import android.util.AttributeSet
import android.view.GestureDetector
import android.view.MotionEvent
import android.view.View
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * Shows a picture on the left of a line and its enlargement on the right.
 *
 * Dragging moves the line; a double tap shows the enlargement pixel by pixel around the finger, where dragging away
 * from the line moves the picture, and another one the whole picture again.
 */
class CompareView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private var before: Bitmap? = null
    private var after: Bitmap? = null
    private var line = 0.5f // of the view's width
    private var isWhole = true
    private var centerX = 0.5f // of the picture, in the middle of the view
    private var centerY = 0.5f
    private val place = RectF()
    private val smooth = Paint(Paint.FILTER_BITMAP_FLAG)
    private val stroke = Paint().apply {
        color = Color.WHITE
        strokeWidth = 2 * resources.displayMetrics.density
    }
    private val gestures = GestureDetector(context, Gestures())

    /** Shows [before] alone while there is no [after]. */
    fun show(before: Bitmap?, after: Bitmap?) {
        if (before !== this.before) isWhole = true
        this.before = before
        this.after = after
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        super.onDraw(canvas)
        val lr = before ?: return
        arrange(after ?: lr)
        canvas.drawBitmap(lr, null, place, smooth)
        val sr = after ?: return
        val x = line * width
        canvas.save()
        canvas.clipRect(x, 0f, width.toFloat(), height.toFloat())
        canvas.drawBitmap(sr, null, place, smooth)
        canvas.restore()
        canvas.drawLine(x, 0f, x, height.toFloat(), stroke)
    }

    /** Places the picture: all of it, or one of its pixels for one of the screen's. */
    private fun arrange(shown: Bitmap) {
        val fit = min(width / shown.width.toFloat(), height / shown.height.toFloat())
        val zoom = if (isWhole) fit else max(fit, 1f)
        val (w, h) = shown.width * zoom to shown.height * zoom
        val x = if (isWhole) 0.5f else centerX
        val y = if (isWhole) 0.5f else centerY
        place.set(width / 2f - x * w, height / 2f - y * h, width / 2f + (1 - x) * w, height / 2f + (1 - y) * h)
    }

    override fun onTouchEvent(event: MotionEvent): Boolean {
        if (event.actionMasked == MotionEvent.ACTION_UP) performClick()
        return gestures.onTouchEvent(event) || super.onTouchEvent(event)
    }

    private inner class Gestures : GestureDetector.SimpleOnGestureListener() {
        private var movesLine = true

        override fun onDown(event: MotionEvent): Boolean {
            movesLine = isWhole || abs(event.x - line * width) < 32 * resources.displayMetrics.density
            return before != null
        }

        override fun onScroll(down: MotionEvent?, event: MotionEvent, distanceX: Float, distanceY: Float): Boolean {
            if (movesLine) {
                line = (event.x / width).coerceIn(0f, 1f)
            } else {
                centerX = (centerX + distanceX / place.width()).coerceIn(0f, 1f)
                centerY = (centerY + distanceY / place.height()).coerceIn(0f, 1f)
            }
            invalidate()
            return true
        }

        override fun onDoubleTap(event: MotionEvent): Boolean {
            centerX = ((event.x - place.left) / place.width()).coerceIn(0f, 1f)
            centerY = ((event.y - place.top) / place.height()).coerceIn(0f, 1f)
            isWhole = !isWhole
            invalidate()
            return true
        }
    }
}
